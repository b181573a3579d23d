"""A run on another's latents as its prior."""

import dataclasses

import cli
import jax.numpy as jnp
import numpy as np
import pytest

import gen_jax
import launch
from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Subject, latent_prior


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A VAE of digits, its latents, and a diffusion of them by label."""
    folder = tmp_path_factory.mktemp("pair")
    vae = config_lib.load_file(str(cli.ROOT / "experiments/vae_digits.py:smoke"))
    experiment.train(vae, folder / "vae")
    assert launch.main(["encode", f"--workdir={folder / 'vae'}"]) == 0
    prior = config_lib.load_file(str(cli.ROOT / "experiments/latent_diffusion_mnist.py:smoke"))
    prior.data.name = f"latents:{folder / 'vae'}"
    prior.model.conditional, prior.model.hidden = True, (16,)
    experiment.train(prior, folder / "prior")
    return folder


def test_latents_are_draws_of_the_posterior_of_each_example(pair):
    run = gen_jax.load(pair / "vae")
    with np.load(pair / "vae" / "latents.npz") as found:
        z, label = found["x_test"], found["label_test"]
        assert len(found["x_train"]) == len(run.experiment.dataset.splits["train"])
    data = run.data("test")
    np.testing.assert_array_equal(label, data["label"])
    q = run.encode(data["x"])
    standard = (z - q.mean) / np.exp(0.5 * q.log_variance)
    assert abs(standard.mean()) < 0.1 and standard.std() == pytest.approx(1, abs=0.1)


def test_samples_are_decoded_samples_of_the_other_run(pair, capsys):
    vae, prior = gen_jax.load(pair / "vae"), gen_jax.load(pair / "prior")
    subject = latent_prior.attach(vae.subject, prior.subject)
    assert subject.num_classes == 10  # the prior's labels, of the VAE that is given none
    label = np.arange(20) % 10
    x = subject.sample(20, {"label": label})
    assert x.shape == (20, 8, 8, 1) and ((x >= 0) & (x <= 1)).all()
    # It is the VAE in all else.
    data = vae.data("test", 5)
    np.testing.assert_array_equal(subject.encode(data).mean, vae.encode(data["x"]).mean)
    at = f"--workdir={pair / 'vae'}"
    own = f"--config.eval.latent_prior={pair / 'prior'}"
    assert launch.main(["evaluate", at, own, "--metrics=fid", "--config.eval.num_samples=50"]) == 0
    assert launch.main(["sample", at, own, "--num=2", "--label=3"]) == 0
    capsys.readouterr()
    both = "--config.eval.fitted_components=2"
    assert launch.main(["sample", at, own, both, "--num=2"]) == 1
    assert "choose one of them" in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class Constant:
    """Latents that are all one number."""

    given = ()

    def sample(self, params, extra, keys, condition, options):
        return jnp.full((len(keys), 4), options["number"])


@dataclasses.dataclass(frozen=True)
class Doubling:
    """A decoder that doubles."""

    latent_dim: int = 4

    def encode(self, params, extra, batch): ...

    def sample_posterior(self, params, extra, batch, keys): ...

    def decode(self, params, extra, z, condition):
        return 2 * z


def test_the_decoder_is_given_what_the_prior_draws():
    vectors = DataSpec("real", (4,))
    prior = Subject(Constant(), vectors, {}, {}, {"number": 1.5, "batch_size": 7})
    found = latent_prior.attach(Subject(Doubling(), vectors, {}, {}, {"batch_size": 3}), prior)
    np.testing.assert_array_equal(found.sample(5), np.full((5, 4), 3.0))


def test_what_does_not_pair_is_refused(pair):
    vae, prior = gen_jax.load(pair / "vae"), gen_jax.load(pair / "prior")
    with pytest.raises(UserError, match="these latents have"):
        latent_prior.attach(vae.subject, vae.subject)
    with pytest.raises(UserError, match=r"eval\.latent_prior needs"):
        latent_prior.attach(Subject(object(), prior.spec, {}, {}), prior.subject)
    assert launch.main(["encode", "--workdir=" + str(pair / "prior" / "none")]) == 1
    with pytest.raises(UserError, match=r"python launch\.py encode --workdir="):
        config = config_lib.load_file(str(cli.ROOT / "experiments/latent_diffusion_mnist.py"))
        config.data.name = f"latents:{pair / 'prior'}"
        experiment.build(config).dataset  # noqa: B018
