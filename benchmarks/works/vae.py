"""The VAE: dense at two batch sizes, importance-weighted, and convolutional."""

import functools

from benchmarks.work import Runner, Work, of_training

STEPS = 50  # of one time of the work
CONV = {
    "model__network": "conv",
    "model__activation": "relu",
    "model__hidden": (32, 64, 128),
    "model__latent_dim": 32,
}


def experiment(network: str, batch: int, samples: int):
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    changes = {"model__importance_samples": samples}
    if network == "conv":
        changes |= CONV
    return training.build(
        "vae",
        DataSpec("binary", (28, 28, 1), levels=2),
        batch_size=batch,
        steps_per_dispatch=STEPS,
        **changes,
    )


def torch_networks(network: str):
    """Encoder to mean and log sigma, decoder to logits; sizes as those of gen_jax."""
    from torch import nn

    if network == "mlp":
        encoder = nn.Sequential(
            *(nn.Flatten(), nn.Linear(784, 200), nn.Tanh()),
            *(nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 100)),
        )
        decoder = nn.Sequential(
            *(nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh()),
            *(nn.Linear(200, 784), nn.Unflatten(1, (1, 28, 28))),
        )
        return encoder, decoder
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(64, 128, 4, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 64)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(32, 2048), nn.ReLU(), nn.Unflatten(1, (128, 4, 4))),
        *(nn.ConvTranspose2d(128, 64, 4, 2, 2, output_padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)),
    )
    return encoder, decoder


def _torch_runner(network: str, batch: int, samples: int, compiled: bool) -> Runner:
    """A straightforward training loop: data in memory, drawn, binarised, ELBO or IWAE, Adam."""
    import math

    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    from benchmarks import pytorch, training

    pytorch.setup()
    encoder, decoder = (part.to(pytorch.device()) for part in torch_networks(network))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    data = pytorch.images(training.images((28, 28, 1)))

    def loss_of(x, noise):
        mean, log_sigma = encoder(x).chunk(2, 1)
        z = mean + log_sigma.exp() * noise
        logits = decoder(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:2], *x.shape[1:])
        target = x.expand_as(logits)
        log_likelihood = -cross_entropy(logits, target, reduction="none").sum((2, 3, 4))
        if samples == 1:
            kl = 0.5 * (mean**2 + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1)
            return (kl - log_likelihood[0]).mean()
        log_prior = -0.5 * (z**2).sum(2)
        log_posterior = -(0.5 * noise**2 + log_sigma).sum(2)
        log_w = log_likelihood + log_prior - log_posterior
        return -(torch.logsumexp(log_w, 0) - math.log(samples)).mean()

    latents = 50 if network == "mlp" else 32

    def draw():
        probability = pytorch.choice(data, batch).float() / 255
        x = (torch.rand_like(probability) < probability).float()
        return x, torch.randn(samples, batch, latents, device=data.device)

    return pytorch.trainer(parameters, loss_of, draw, STEPS, compiled)


def _work(name: str, *arguments) -> Work:
    made = functools.partial(experiment, *arguments)
    return of_training(name, STEPS, made, functools.partial(_torch_runner, *arguments))


WORKS = [
    _work("vae_mlp_20", "mlp", 20, 1),
    _work("vae_mlp_128", "mlp", 128, 1),
    _work("iwae_50", "mlp", 20, 50),
    _work("vae_conv", "conv", 128, 1),
]
