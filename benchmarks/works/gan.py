"""GANs of 32x32 colour images: DCGAN networks, without and with second-order gradients."""

import functools

from benchmarks.work import Runner, Work

STEPS = 4  # of one time of the work
BATCH = 64
WIDTHS = (64, 128, 256)
# loss, penalty, its weight, discriminator updates in a step
RECIPES = {
    "dcgan": ("non_saturating", "none", 0.0, 1),
    "wgan_gp": ("wasserstein", "wgan_gp", 10.0, 1),
    "r1_r2": ("relativistic", "r1_r2", 1.0, 1),
}


def experiment(recipe: str):
    from benchmarks import training
    from gen_jax.data.spec import DataSpec

    loss, penalty, weight, updates = RECIPES[recipe]
    return training.build(
        "gan",
        DataSpec("bytes", (32, 32, 3), levels=256),
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        model__generator_widths=WIDTHS,
        model__discriminator_widths=WIDTHS,
        model__generator_norm="batch",
        model__loss=loss,
        model__penalty=penalty,
        model__penalty_weight=(weight, weight),
        model__discriminator_updates=updates,
    )


def _gen_jax_runner(recipe: str) -> Runner:
    from benchmarks import training

    return training.runner(experiment(recipe))


def _cost(recipe: str) -> tuple[float, float]:
    from benchmarks import training

    return training.work_cost(experiment(recipe))


def torch_networks():
    from torch import nn

    generator = nn.Sequential(
        *(nn.Linear(64, 256 * 16), nn.Unflatten(1, (256, 4, 4)), nn.BatchNorm2d(256), nn.ReLU()),
        *(nn.ConvTranspose2d(256, 128, 4, 2, 1), nn.BatchNorm2d(128), nn.ReLU()),
        *(nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh()),
    )
    discriminator = nn.Sequential(
        *(nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(64, 128, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(128, 256, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(256 * 16, 1)),
    )
    return generator, discriminator


def _torch_runner(recipe: str, compiled: bool = False) -> Runner:
    """Alternating updates, each with a minibatch of its own, as gen_jax's turns have."""
    import torch
    from torch.nn.functional import softplus

    from benchmarks import pytorch, training

    pytorch.setup()
    loss, penalty, weight, updates = RECIPES[recipe]
    generator, discriminator = (part.to(pytorch.device()) for part in torch_networks())
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    players = {"generator": generator, "discriminator": discriminator}
    optimizers = {name: adam(network.parameters()) for name, network in players.items()}
    data = pytorch.images(training.images((32, 32, 3)))
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
    }[loss]

    def squares(x):
        (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3))

    def penalty_of(real, fake):
        if penalty == "wgan_gp":
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
        return value + weight * penalty_of(real, fake) if weight else value

    def generator_loss(real, z):
        of_real = discriminator(real) if loss == "relativistic" else None
        return losses[1](of_real, discriminator(generator(z)))

    turns = [("discriminator", discriminator_loss)] * updates + [("generator", generator_loss)]
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
    contestants = {
        "gen_jax": functools.partial(_gen_jax_runner, recipe),
        "pytorch": functools.partial(_torch_runner, recipe),
    }
    # torch.compile does not take second-order gradients.
    if RECIPES[recipe][1] == "none":
        contestants["pytorch_compiled"] = functools.partial(_torch_runner, recipe, compiled=True)
    return Work(recipe, f"{STEPS} steps", contestants, functools.partial(_cost, recipe))


WORKS = [_work(recipe) for recipe in RECIPES]
