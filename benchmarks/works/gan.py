"""GANs of images: DCGAN networks, without and with second-order gradients."""

import dataclasses
import functools
from itertools import pairwise

from benchmarks.work import Runner, Work, of_training

STEPS = 4  # of one time of the work
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Recipe:
    loss: str
    penalty: str
    penalty_weight: float
    shape: tuple[int, int, int] = (32, 32, 3)
    widths: tuple[int, ...] = (64, 128, 256)


RECIPES = {
    "dcgan": Recipe("non_saturating", "none", 0.0),
    "dcgan_28": Recipe("non_saturating", "none", 0.0, (28, 28, 1), (64, 128)),
    "wgan_gp": Recipe("wasserstein", "wgan_gp", 10.0),
    "r1_r2": Recipe("relativistic", "r1_r2", 1.0),
}


def experiment(recipe: str):
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    r = RECIPES[recipe]
    return training.build(
        "gan",
        DataSpec("bytes", r.shape, levels=256),
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        model__generator_widths=r.widths,
        model__discriminator_widths=r.widths,
        model__generator_norm="batch",
        model__loss=r.loss,
        model__penalty=r.penalty,
        model__penalty_weight=(r.penalty_weight, r.penalty_weight),
    )


def torch_networks(recipe: str):
    from torch import nn

    (size, _, channels), widths = RECIPES[recipe].shape, RECIPES[recipe].widths
    least = size >> len(widths)
    features = widths[-1] * least**2
    up, down = [], []
    for before, after in pairwise(widths[::-1]):
        up += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    for before, after in pairwise((channels, *widths)):
        down += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
    generator = nn.Sequential(
        *(nn.Linear(64, features), nn.Unflatten(1, (widths[-1], least, least))),
        *(nn.BatchNorm2d(widths[-1]), nn.ReLU(), *up),
        *(nn.ConvTranspose2d(widths[0], channels, 4, 2, 1), nn.Tanh()),
    )
    discriminator = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, 1))
    return generator, discriminator


def _torch_runner(recipe: str, compiled: bool) -> Runner:
    """Alternating updates, each with a minibatch of its own, as gen_jax's turns have."""
    import torch
    from torch.nn.functional import softplus

    from benchmarks import pytorch, training

    pytorch.setup()
    r = RECIPES[recipe]
    generator, discriminator = (part.to(pytorch.device()) for part in torch_networks(recipe))
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    players = {"generator": generator, "discriminator": discriminator}
    optimizers = {name: adam(network.parameters()) for name, network in players.items()}
    data = pytorch.images(training.images(r.shape))
    losses = {
        # discriminator's loss, generator's loss
        "non_saturating": (
            lambda real, fake: (softplus(-real) + softplus(fake)).mean(),
            lambda real, fake: softplus(-fake).mean(),
        ),
        "wasserstein": (
            lambda real, fake: (fake - real).mean(),
            lambda real, fake: -fake.mean(),
        ),
        "relativistic": (
            lambda real, fake: softplus(fake - real).mean(),
            lambda real, fake: softplus(real - fake).mean(),
        ),
    }[r.loss]

    def squares(x):
        (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3))

    def penalty_of(real, fake):
        if r.penalty == "wgan_gp":
            part = torch.rand(len(real), 1, 1, 1, device=real.device)
            between = (part * real + (1 - part) * fake).requires_grad_()
            return ((squares(between) + 1e-12).sqrt() - 1).square().mean()
        return 0.5 * sum(squares(x.requires_grad_()).mean() for x in (real, fake))

    def draw():
        index = torch.randint(len(data), (BATCH,), device=data.device)
        return data[index].float() / 127.5 - 1, torch.randn(BATCH, 64, device=data.device)

    def discriminator_loss(real, z):
        fake = generator(z).detach()
        value = losses[0](discriminator(real), discriminator(fake))
        return value + r.penalty_weight * penalty_of(real, fake) if r.penalty_weight else value

    def generator_loss(real, z):
        of_real = discriminator(real) if r.loss == "relativistic" else None
        return losses[1](of_real, discriminator(generator(z)))

    turns = [("discriminator", discriminator_loss), ("generator", generator_loss)]
    if compiled:
        turns = [(name, pytorch.compiled(function)) for name, function in turns]

    def step():
        for name, function in turns:
            for optimizer in optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            function(*draw()).backward()
            optimizers[name].step()

    return pytorch.repeated(step, STEPS)


def _work(recipe: str) -> Work:
    return of_training(
        recipe,
        STEPS,
        functools.partial(experiment, recipe),
        functools.partial(_torch_runner, recipe),
        compiles=RECIPES[recipe].penalty == "none",  # it takes no second-order gradients
    )


WORKS = [_work(recipe) for recipe in RECIPES]
