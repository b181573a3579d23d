"""What evaluation costs: importance-sampled likelihoods, FID, and drawing samples."""

import numpy as np

from benchmarks.work import Runner, Work

IMAGES = 10_000
NLL_IMAGES, NLL_SAMPLES = 1_000, 500


def _nll_gen_jax() -> Runner:
    from ml_collections import ConfigDict

    from benchmarks.works import vae
    from gen_jax.data.examples import ArrayExamples
    from gen_jax.evaluation import likelihood

    experiment = vae.experiment("mlp", 100, 1)
    subject = experiment.subject(experiment.init())
    images = experiment.dataset.splits["train"].gather(np.arange(NLL_IMAGES))["x"]
    examples = ArrayExamples("test", {"x": images, "label": np.zeros(NLL_IMAGES, np.int32)})
    settings = ConfigDict({"batch_size": 100, "num_examples": 0})

    def run(count: int) -> None:
        for _ in range(count):
            likelihood.importance_terms(subject, examples, settings, NLL_SAMPLES)

    return run


def _nll_torch() -> Runner:
    """All samples of a few images at a time, with as many products of the size that fits."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    from benchmarks import pytorch, training
    from benchmarks.works import vae

    pytorch.setup()
    encoder, decoder = (part.to(pytorch.device()) for part in vae.torch_networks("mlp"))
    data = pytorch.images(training.images((28, 28, 1))[:NLL_IMAGES])

    @torch.no_grad()
    def step():
        for x in data.split(10):
            x = (torch.rand(x.shape, device=x.device) < x / 255).float()
            mean, log_sigma = encoder(x).chunk(2, 1)
            noise = torch.randn(NLL_SAMPLES, *mean.shape, device=x.device)
            z = mean + log_sigma.exp() * noise
            logits = decoder(z.reshape(-1, z.shape[-1])).reshape(NLL_SAMPLES, *x.shape)
            target = x.expand_as(logits)
            log_w = -cross_entropy(logits, target, reduction="none").sum((2, 3, 4))
            log_w = log_w - 0.5 * (z**2).sum(2) + (0.5 * noise**2 + log_sigma).sum(2)
            torch.logsumexp(log_w, 0).cpu()

    return pytorch.repeated(step, 1)


def _pictures() -> np.ndarray:
    from benchmarks import training

    return training.images((28, 28, 1))


def _fid_gen_jax() -> Runner:
    """Features of generated pictures by the judge, and the distance from known real ones."""
    from gen_jax.evaluation import features, fidelity, judges

    module, params, _, digest = judges.load("mnist")
    net = features.FeatureNet(f"mnist-cnn@{digest}", module, params)
    real, fake = _pictures(), _pictures()[::-1].copy()
    real_features = net(real)[1]

    def run(count: int) -> None:
        for _ in range(count):
            fidelity.frechet_distance(real_features, net(fake)[1])

    return run


def _fid_torch() -> Runner:
    """The same, with the matrix square root of scipy, as pytorch-fid has it."""
    import torch
    from scipy import linalg

    from benchmarks import pytorch
    from benchmarks.works import classifier

    pytorch.setup()
    net = classifier.torch_network()[0].to(pytorch.device())
    fake = pytorch.images(_pictures())

    @torch.no_grad()
    def features() -> np.ndarray:
        return np.concatenate([net(x / 127.5 - 1).cpu().numpy() for x in fake.split(100)])

    real = features()

    def step():
        pairs = [(x.mean(0), np.cov(x, rowvar=False)) for x in (real, features())]
        (mean, one), (other, two) = pairs
        root = linalg.sqrtm(one @ two)
        np.sum((mean - other) ** 2) + np.trace(one + two - 2 * np.real(root))

    return pytorch.repeated(step, 1)


def _sampling_gen_jax() -> Runner:
    from benchmarks.works import gan

    experiment = gan.experiment("dcgan")
    subject = experiment.subject(experiment.init())

    def run(count: int) -> None:
        for _ in range(count):
            for seed in range(IMAGES // 1_000):
                subject.sample(1_000, seed=seed)

    return run


def _sampling_torch() -> Runner:
    import torch

    from benchmarks import pytorch
    from benchmarks.works import gan

    pytorch.setup()
    generator = gan.torch_networks("dcgan")[0].to(pytorch.device()).eval()

    @torch.no_grad()
    def step():
        for _ in range(IMAGES // 1_000):
            x = generator(torch.randn(1_000, 64, device=pytorch.device()))
            ((x + 1) * 127.5).cpu().numpy()

    return pytorch.repeated(step, 1)


WORKS = [
    Work(
        "nll_5000",
        f"{NLL_SAMPLES} samples for {NLL_IMAGES:,} images",
        {"gen_jax": _nll_gen_jax, "pytorch": _nll_torch},
    ),
    Work("fid_10k", f"{IMAGES:,} images", {"gen_jax": _fid_gen_jax, "pytorch": _fid_torch}),
    Work(
        "sampling_10k",
        f"{IMAGES:,} images of 32x32x3",
        {"gen_jax": _sampling_gen_jax, "pytorch": _sampling_torch},
    ),
]
