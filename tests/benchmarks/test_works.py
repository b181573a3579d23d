"""Both sides of the contests do the same work."""

import jax
import numpy as np
import pytest

from benchmarks import training, work
from benchmarks.works import autoregressive, classifier, diffusion, flow, gan, pixelcnn, vae
from gen_jax.data.spec import DataSpec

WORKS = work.find()


def parameters(experiment):
    return sum(leaf.size for leaf in jax.tree.leaves(experiment.template().params))


def torch_parameters(*networks):
    return sum(p.numel() for network in networks for p in network.parameters())


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_vaes_are_of_one_size(network):
    pytest.importorskip("torch")
    ours = parameters(vae.experiment(network, 20, 1))
    assert ours == torch_parameters(*vae.torch_networks(network))


@pytest.mark.parametrize("recipe", ["dcgan", "dcgan_28"])
def test_gans_are_of_one_size(recipe):
    pytest.importorskip("torch")
    ours = parameters(gan.experiment(recipe))
    assert ours == torch_parameters(*gan.torch_networks(recipe))


def test_judges_are_of_one_size():
    pytest.importorskip("torch")
    ours = parameters(classifier.experiment())
    assert ours == torch_parameters(*classifier.torch_network())


@pytest.mark.parametrize("contest", [diffusion, flow, pixelcnn])
def test_networks_are_of_one_size(contest):
    pytest.importorskip("torch")
    assert parameters(contest.experiment()) == torch_parameters(contest.torch_network())


def test_networks_of_images_give_images():
    torch = pytest.importorskip("torch")
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        assert diffusion.torch_network()(x, torch.zeros(2)).shape == x.shape
        assert pixelcnn.torch_network()(x).shape == x.shape
        assert flow.torch_network()(x).shape == (2,)


def test_a_pixel_is_told_of_those_before_it_alone():
    torch = pytest.importorskip("torch")
    x = torch.rand(1, 1, 28, 28, requires_grad=True)
    pixelcnn.torch_network()(x)[0, 0, 14, 13].backward()
    reached = x.grad[0, 0].flatten() != 0
    assert reached[: 14 * 28 + 13].any() and not reached[14 * 28 + 13 :].any()


def test_transformers_are_of_one_size():
    pytest.importorskip("torch")
    ours = parameters(autoregressive.experiment())
    theirs = torch_parameters(autoregressive.torch_network())
    features, symbols = autoregressive.FEATURES, autoregressive.VOCABULARY
    # Places have vectors there, and here rotate; the output has weights and biases of its own here,
    # and what stands for the character before the first has a vector.
    assert ours == theirs - autoregressive.WINDOW * features + symbols * (features + 1) + features


def test_the_sampler_with_a_memory_knows_what_the_network_says():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = autoregressive.torch_network()
    with torch.no_grad():
        network.symbols.weight *= 4  # so that characters depend on those before them
    x = network.sample(400, "cpu")
    with torch.no_grad():
        nats = torch.nn.functional.cross_entropy(
            network(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()
        )
        logits = network(x[:, :-1])
    expected = torch.distributions.Categorical(logits=logits).entropy()
    assert float(nats) == pytest.approx(float(expected.mean()), rel=0.03)
    assert float(nats) < 0.8 * np.log(autoregressive.VOCABULARY)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_runner_trains(replicas):
    spec = DataSpec("binary", (2, 2, 1), levels=2)
    experiment = training.build(
        "vae",
        spec,
        batch_size=2,
        num_replicas=replicas,
        steps_per_dispatch=3,
        model__hidden=(2,),
        model__latent_dim=1,
    )
    training.runner(experiment)(2)
    cost = training.cost(experiment)
    # At least a multiplication and an addition for each weight and example, forwards.
    assert cost.flops > 2 * 2 * parameters(experiment)
    # Each weight, each moment of Adam and the gradient are read or written at least once.
    assert cost.traffic > 4 * 4 * parameters(experiment)
    data = training.images(spec.shape).nbytes
    assert data < cost.held < data + 2**20


@pytest.mark.parametrize("name", WORKS)
def test_every_work_is_a_contest_with_pytorch(name):
    contestants = list(WORKS[name].contestants)
    assert contestants[0] == "gen_jax" and "pytorch" in contestants


def test_made_up_images_are_mostly_black():
    x = training.images((28, 28, 1))
    assert x.dtype == np.uint8 and 0.75 < (x == 0).mean() < 0.85
