"""Gradient penalties: what keeps a discriminator smooth.

A penalty says at which points it looks at the gradient of the logits, and what it asks of the
gradient's norm there. `logits_and_penalty` evaluates the logits and the penalty together: the
points that a penalty shares with the loss go through the discriminator once, under one `jax.vjp`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import parallel


def _between(real: jax.Array, fake: jax.Array, keys: jax.Array) -> jax.Array:
    """A uniform point on the line from real[i] to fake[i] (arXiv 1704.00028, algorithm 1)."""
    part = keys_lib.uniform(keys).reshape(-1, *(1,) * (real.ndim - 1))
    return real + part * (fake - real)


def _around(real: jax.Array, fake: jax.Array, keys: jax.Array) -> jax.Array:
    """A point between real[i] and real[i] + U[0, 1) * half the batch's standard deviation."""
    mean, square = parallel.mean((real.mean(), jnp.square(real).mean()))
    sd = jnp.sqrt(square - jnp.square(mean))
    noisy = real + 0.5 * sd * keys_lib.uniform(keys_lib.named(keys, "noise"), real.shape[1:])
    return _between(real, noisy, keys)


@dataclasses.dataclass(frozen=True)
class Penalty:
    """Asks something of the norms of the gradient at some points.

    Attributes:
      at: the points: "real", "fake", both, or "other".
      cost: squared norms [N] -> [N], to be averaged over each kind of point and summed.
      other: (real, fake, keys) -> the points "other", [B, ...].
    """

    at: tuple[str, ...] = ()
    cost: Callable[[jax.Array], jax.Array] = lambda squares: squares
    other: Callable | None = None


def _half(squares: jax.Array) -> jax.Array:
    return squares / 2


def _norm_of_one(squares: jax.Array) -> jax.Array:
    # The root's gradient at 0 is infinite, and 0 is where a zero-initialised head starts.
    return jnp.square(jnp.sqrt(squares + 1e-12) - 1)


PENALTIES = {
    "none": Penalty(),
    # Gulrajani et al. 2017 (arXiv 1704.00028), equation 3.
    "wgan_gp": Penalty(("other",), _norm_of_one, _between),
    # Kodali et al. 2017 (arXiv 1705.07215), equation 4, with the noise of the authors' code.
    "dragan": Penalty(("other",), _norm_of_one, _around),
    # Mescheder et al. 2018 (arXiv 1801.04406), equations 9 and 10.
    "r1": Penalty(("real",), _half),
    "r2": Penalty(("fake",), _half),
    # Huang et al. 2024 (R3GAN, arXiv 2501.05441), section 3.
    "r1_r2": Penalty(("real", "fake"), _half),
}


def logits_and_penalty(
    critic: Callable,
    real: jax.Array,
    fake: jax.Array,
    penalty: Penalty,
    keys: jax.Array,
    together: bool = True,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], jax.Array]:
    """The outputs at real and fake examples, and the penalty of the gradient of the logits.

    Args:
      critic: examples [n * B, ...], n batches in a row -> outputs, a dict of arrays
        [n * B, ...] with "logits" [n * B].
      real: [B, ...].
      fake: [B, ...].
      penalty: which.
      keys: [B], for the points that a penalty draws.
      together: whether points without a penalty are one call of the critic. That is faster, but
        where no loss reads the real ones, only calls of their own are left out by the compiler.

    Returns:
      outputs at real, outputs at fake, and the penalty, a scalar.
    """
    points = {"real": real, "fake": fake}
    if penalty.other:
        points["other"] = penalty.other(real, fake, keys)
    outputs, total = {}, jnp.zeros(())
    if penalty.at:
        x = jnp.concatenate([points[name] for name in penalty.at])
        logits, pull_back, seen = jax.vjp(lambda x: _split(critic(x)), x, has_aux=True)
        (gradient,) = pull_back(jnp.ones_like(logits))
        squares = jnp.square(gradient).reshape(len(x), -1).sum(-1)
        total = penalty.cost(squares).mean() * len(penalty.at)
        outputs |= _parts(seen, penalty.at)
    rest = tuple(name for name in ("real", "fake") if name not in penalty.at)
    for names in [rest] if together else [(name,) for name in rest]:
        if names:
            outputs |= _parts(critic(jnp.concatenate([points[name] for name in names])), names)
    return outputs["real"], outputs["fake"], total


def _split(outputs: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    return outputs["logits"], outputs


def _parts(outputs: dict[str, jax.Array], names: tuple[str, ...]) -> dict[str, dict]:
    """Outputs at a concatenation -> those at each of its parts."""
    pieces = jax.tree.map(lambda y: jnp.split(y, len(names)), outputs)
    return {name: {key: piece[i] for key, piece in pieces.items()} for i, name in enumerate(names)}
