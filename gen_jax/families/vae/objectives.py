"""Bounds from importance weights, and what their gradients are made of."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.families.base import LogWeights
from gen_jax.families.requirements import Requirement, only


def miwae(log_w: jax.Array, importance_samples: int) -> jax.Array:
    """The mean of M bounds of K importance samples each: log_w [M * K, B] -> [B], in nats.

    Rainforth et al. 2018 (arXiv 1802.04537), equation 6. M = K = 1 is the ELBO, K = 1 the ELBO
    with M samples, M = 1 the IWAE (Burda et al. 2016, arXiv 1509.00519, equation 8).
    """
    groups = log_w.reshape(-1, importance_samples, log_w.shape[-1])
    return (jax.nn.logsumexp(groups, 1) - jnp.log(importance_samples)).mean(0)


def normalized_weights(log_w: jax.Array, importance_samples: int) -> jax.Array:
    """Each weight's share of the sum in its group of K: [M * K, B] -> the same shape."""
    groups = log_w.reshape(-1, importance_samples, log_w.shape[-1])
    return jax.nn.softmax(groups, 1).reshape(log_w.shape)


@jax.custom_vjp
def scale_gradient(x: jax.Array, factor: jax.Array) -> jax.Array:
    """x itself; what flows back through it is multiplied by `factor`, which has no gradient."""
    return x


scale_gradient.defvjp(
    lambda x, factor: (x, factor),
    lambda factor, g: (g * factor, jnp.zeros_like(factor)),
)

# How the gradient of the bound in the encoder's parameters is estimated: (drop the score function
# of q, scale the gradient in z by the normalised weights). Each holds at every beta.
#   standard: the gradient of the bound as it stands.
#   stl: sticking the landing, Roeder et al. 2017 (arXiv 1703.09194). Unbiased for K = 1.
#   dreg: doubly reparameterised, Tucker et al. 2019 (arXiv 1810.04152), equation 8, for weights
#     p(x|z) (p(z) / q(z|x))^beta. Unbiased.
ESTIMATORS: dict[str, tuple[bool, bool]] = {
    "standard": (False, False),
    "stl": (True, False),
    "dreg": (True, True),
}


# What the KL needs to have a closed form.
CLOSED_FORM = {
    "importance_samples": only(1),
    "prior": only("standard_normal"),
    "upper_latent_dims": only(()),
    "flow_steps": only(0),
}

HOW_TO_CLOSED_FORM = (
    "use one layer without a flow, a standard normal prior, importance_samples=1 and "
    "--config.model.estimator=auto"
)

REQUIREMENTS = (
    Requirement(
        {"estimator": only("analytic"), "autoencoder": only(False)},
        CLOSED_FORM,
        "the KL of several draws, layers, a flow or another prior has no closed form",
        "use --config.model.estimator=standard",
    ),
)


def bound(
    log_weights: Callable,
    latents: list[jax.Array],
    importance_samples: int,
    estimator: str,
    beta: jax.typing.ArrayLike = 1.0,
) -> tuple[jax.Array, LogWeights]:
    """The MIWAE bound [B] of reparameterised latents, with the gradient of an estimator.

    Args:
      log_weights: `(latents, drop_score) -> LogWeights` of M * K samples. With `drop_score` its
        parameters of q have no gradient, as functions of which the densities are evaluated.
      latents: draws [M * K, B, L] of each stochastic layer.
      importance_samples: K.
      estimator: a key of `ESTIMATORS`.
      beta: weight of the rate; the weights of the bound are p(x|z) (p(z) / q(z|x))^beta.

    Returns:
      the bound, and the terms, which are not weighted.
    """
    drop_score, scale = ESTIMATORS[estimator]

    def weighted(terms: LogWeights) -> jax.Array:
        return terms.log_likelihood + beta * terms.log_ratio

    if scale:
        # The forward pass is computed once: the compiler sees that both are the same.
        log_w = weighted(log_weights(latents, True))
        share = jax.lax.stop_gradient(normalized_weights(log_w, importance_samples))
        # The score function's part of the gradient is -beta E[share d log q], which is
        # -beta E[share (1 - share) d log w / dz] by reparameterisation (equation 6).
        factor = (1 - beta) + beta * share
        latents = [scale_gradient(z, factor[..., None]) for z in latents]
    terms = log_weights(latents, drop_score)
    return miwae(weighted(terms), importance_samples), terms
