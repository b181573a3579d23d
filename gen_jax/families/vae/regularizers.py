"""What may stand in the place of the KL in a VAE's loss.

Each takes the KL of every latent dimension from the standard normal [B, L], the posterior's mean
and log variance [B, L] and a draw z [B, L], and gives a scalar in nats, weighted by beta, that is
added to the distortion. `Settings` holds what a config chooses.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import parallel
from gen_jax.errors import UserError
from gen_jax.families.base import Params
from gen_jax.families.requirements import Requirement, above, only, other_than
from gen_jax.families.vae.objectives import HOW_TO_CLOSED_FORM


@dataclasses.dataclass(frozen=True)
class Settings:
    """Numbers that regularisers use.

    Attributes:
      target: nats: of the whole rate for `capacity`, of a latent dimension for `free_bits`.
      beta: weight of the regulariser; of `total_correlation`, that of TC within the KL.
    """

    target: float
    beta: float


def kl(kl: jax.Array, mean: jax.Array, log_variance: jax.Array, z: jax.Array, s: Settings):
    """beta KL: the rate of the ELBO, or the beta-VAE's (Higgins et al. 2017, equation 4)."""
    return s.beta * kl.sum(-1).mean()


def capacity(kl, mean, log_variance, z, s: Settings):
    """beta |KL - C|: Burgess et al. 2018 (arXiv 1804.03599), equation 8, with C the target."""
    return s.beta * jnp.abs(parallel.mean(kl.sum(-1).mean()) - s.target)


def free_bits(kl, mean, log_variance, z, s: Settings):
    """beta times the sum over dimensions of max(target, mean KL).

    Kingma et al. 2016 (arXiv 1606.04934), equation 15.
    """
    return s.beta * jnp.maximum(parallel.mean(kl.mean(0)), s.target).sum()


def total_correlation(kl, mean, log_variance, z, s: Settings):
    """KL + (beta - 1) TC: the beta-TCVAE, whose beta weighs one of the three parts of the KL.

    Chen et al. 2018 (arXiv 1802.04942), equation 4 with alpha = gamma = 1.
    """
    tc = estimated_total_correlation(mean, log_variance, z)
    return kl.sum(-1).mean() + (s.beta - 1) * tc


def estimated_total_correlation(
    mean: jax.Array, log_variance: jax.Array, z: jax.Array
) -> jax.Array:
    """TC = KL(q(z) || prod_j q(z_j)) in nats, with q(z) the mean of the global batch's q(z|x).

    Minibatch-weighted sampling (Chen et al. 2018, arXiv 1802.04942, equation S6) differs from it
    by a constant alone, which the size of the training set is part of.
    """
    everyone = parallel.gather((mean, log_variance))
    # [B, M, L]: each z under the posterior of each example of the global batch.
    squares = jnp.square(z[:, None] - everyone[0]) * jnp.exp(-everyone[1])
    log_q = -0.5 * (squares + everyone[1] + math.log(2 * math.pi))
    norm = math.log(len(everyone[0]))
    joint = jax.nn.logsumexp(log_q.sum(-1), 1) - norm
    marginals = (jax.nn.logsumexp(log_q, 1) - norm).sum(-1)
    return (joint - marginals).mean()


def mmd(kl, mean, log_variance, z, s: Settings):
    """beta times the squared maximum mean discrepancy of q(z) from N(0, I), Gaussian kernel.

    InfoVAE (Zhao et al. 2019, arXiv 1706.02262) and WAE-MMD (Tolstikhin et al. 2018, arXiv
    1711.01558). The prior's part is in closed form, so nothing is drawn of it. The kernel's
    variance is 2 L, that of the distance of two draws of the prior in each dimension.

    Raises:
      UserError: for a batch of one, which has nothing to compare.
    """
    dims, variance = z.shape[-1], 2.0 * z.shape[-1]
    others = parallel.gather(z)
    if len(others) < 2:
        raise UserError(
            "model.regularizer='mmd' compares the examples of a batch with one another, and here "
            "it has one; use a larger --config.batch_size or a smaller --config.optim.accumulate"
        )
    squares = jnp.square(z[:, None] - others).sum(-1)
    own = jnp.exp(-squares / (2 * variance))
    # An unbiased mean leaves out each z with itself, where the kernel is 1.
    within = (own.sum(1) - 1) / (len(others) - 1)
    across = (variance / (variance + 1)) ** (dims / 2) * jnp.exp(
        -jnp.square(z).sum(-1) / (2 * (variance + 1))
    )
    prior = (variance / (variance + 2)) ** (dims / 2)
    return s.beta * ((within - 2 * across).mean() + prior)


def l2(kl, mean, log_variance, z, s: Settings):
    """beta |z|^2 / 2: the latents' part of the regularised autoencoder's loss.

    Ghosh et al. 2020 (arXiv 1903.12436), equation 9.
    """
    return s.beta * 0.5 * jnp.square(z).sum(-1).mean()


REGULARIZERS: dict[str, Callable] = {
    "kl": kl,
    "capacity": capacity,
    "free_bits": free_bits,
    "total_correlation": total_correlation,
    "mmd": mmd,
    "l2": l2,
}


_TARGETED = only("capacity", "free_bits")

REQUIREMENTS = (
    Requirement(
        {"autoencoder": only(True)},
        {"regularizer": only("kl", "l2", "mmd")},
        "a plain autoencoder has no KL",
        "use --config.model.regularizer=l2 or mmd",
    ),
    Requirement(
        {"autoencoder": only(True), "regularizer": only("kl")},
        {"beta": only(1)},
        "a plain autoencoder has no KL to weigh",
        "use --config.model.regularizer=l2 or mmd",
    ),
    Requirement(
        {"regularizer": only("l2")},
        {"autoencoder": only(True)},
        "it leaves a posterior's variance free",
    ),
    Requirement(
        {"regularizer": other_than("kl"), "autoencoder": only(False)},
        {"estimator": only("analytic")},
        "it needs the closed-form KL",
        HOW_TO_CLOSED_FORM,
    ),
    Requirement(
        {"target": above(0, 1)},
        {"regularizer": _TARGETED},
        "a target is of capacity and free_bits",
        "use --config.model.regularizer=free_bits, or --config.model.target=0",
    ),
    Requirement(
        {"regularizer": _TARGETED},
        {"target": above(0, 0.1)},
        "it is the KL at a target of 0",
        "say how many nats: of the whole rate (capacity), as --config.model.target=25, or of a "
        "latent (free_bits), as 0.1",
    ),
    Requirement(
        {"regularizer": only("total_correlation")},
        {"beta": other_than(1, 6)},
        "it is the KL where model.beta is 1",
    ),
    Requirement(
        {"decoder_penalty": other_than("none")},
        {"autoencoder": only(True)},
        "it is of a plain autoencoder's decoder",
    ),
)


def weights(decoder: Params, decode: Callable, z: jax.Array, keys: jax.Array) -> jax.Array:
    """|theta|^2 of the decoder's parameters: Ghosh et al. 2020 (arXiv 1903.12436), RAE-L2."""
    return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(decoder))


def gradient(decoder: Params, decode: Callable, z: jax.Array, keys: jax.Array) -> jax.Array:
    """|dD/dz|^2, the squared Frobenius norm of the decoded mean's Jacobian: the same, RAE-GP.

    Estimated without bias by the Jacobian's product with one standard normal vector for each
    example.
    """
    out, pull_back = jax.vjp(decode, z)
    noise = keys_lib.normal(keys_lib.named(keys, "decoder penalty"), out.shape[1:])
    return jnp.square(pull_back(noise)[0]).sum(-1).mean()


# What holds back the decoder of an autoencoder: `(its parameters, decode(z [B, L]), z, keys)`.
DECODER_PENALTIES: dict[str, Callable] = {"weights": weights, "gradient": gradient}
