"""Adversarial losses: logits of real and of generated examples -> a loss for each player.

Each takes `real` and `fake`, both [B] or a map for each example, [B, ...], where a larger logit
means "real", and returns the discriminator's loss and the generator's, scalars. Pairs (real[i],
fake[i]) matter to the relativistic loss alone.
"""

import jax
import jax.numpy as jnp

from gen_jax.likelihoods import softplus


def non_saturating(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Goodfellow et al. 2014 (arXiv 1406.2661), section 3: the generator maximises log D."""
    return (softplus(-real) + softplus(fake)).mean(), softplus(-fake).mean()


def minimax(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Goodfellow et al. 2014 (arXiv 1406.2661), equation 1."""
    discriminator = (softplus(-real) + softplus(fake)).mean()
    return discriminator, -softplus(fake).mean()


def least_squares(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mao et al. 2017 (arXiv 1611.04076), equation 9: targets 0 and 1."""
    discriminator = 0.5 * (jnp.square(real - 1) + jnp.square(fake)).mean()
    return discriminator, 0.5 * jnp.square(fake - 1).mean()


def hinge(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Lim and Ye 2017 (arXiv 1705.02894); Miyato et al. 2018 (arXiv 1802.05957), eqs. 16, 17."""
    discriminator = (jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)).mean()
    return discriminator, -fake.mean()


def wasserstein(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Arjovsky et al. 2017 (arXiv 1701.07875), equation 2. It needs a penalty or a norm."""
    return (fake - real).mean(), -fake.mean()


def relativistic(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    """RpGAN, relativistic pairing: Jolicoeur-Martineau 2018 (arXiv 1807.00734), equation 6.

    As in Huang et al. 2024 (R3GAN, arXiv 2501.05441), equation 2, with f(t) = -log(1 + e^-t).
    """
    return softplus(fake - real).mean(), softplus(real - fake).mean()


LOSSES = {
    "non_saturating": non_saturating,
    "minimax": minimax,
    "least_squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
}
