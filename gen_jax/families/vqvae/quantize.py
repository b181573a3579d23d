"""Continuous vectors to codes: a learned codebook, and finite scalar quantisation.

The learned codebook (van den Oord et al. 2017, arXiv 1711.00937, appendix A.1) has no gradient:
each code follows the mean of the vectors that chose it. It is held as two moving averages,
`{"size": [K], "sum": [K, D]}`, taken over the global batch. `size` is the fraction of the vectors
that chose each code, where the paper has their number: the codes are ratios of the two, so that
they are the same, and nothing depends on the batch size.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import parallel

Codebook = dict[str, jax.Array]

# Laplace smoothing: what is added to the size of each code, as a part of an even share.
SMOOTHING = 1e-5


def straight_through(z: jax.Array, quantized: jax.Array) -> jax.Array:
    """The value of `quantized` with the gradient of z, of the same shape."""
    return z + jax.lax.stop_gradient(quantized - z)


def frequencies(index: jax.Array, size: int) -> jax.Array:
    """Fraction of the global batch's codes, int32 [N] on each device, that are k: [size]."""
    return parallel.mean(jnp.bincount(index, length=size) / len(index))


def perplexity(frequency: jax.Array) -> jax.Array:
    """exp of the entropy of frequencies [K]: 1 if one code has all, K if all have the same."""
    return jnp.exp(-jax.scipy.special.xlogy(frequency, frequency).sum())


# A learned codebook


def initial_codebook(key: jax.Array, z: jax.Array, size: int) -> Codebook:
    """K = `size` codes at random ones of z [N, D]. If there are too few, they serve twice."""
    order = jax.random.permutation(key, len(z))
    share = jnp.full(size, 1 / size)
    return {"size": share, "sum": z[order[jnp.arange(size) % len(z)]] / size}


def code_vectors(codebook: Codebook) -> jax.Array:
    """The codes [K, D]: sums over sizes, the latter smoothed so that none is 0."""
    size = codebook["size"]
    total = size.sum()
    smoothed = (size + SMOOTHING / len(size)) / (total + SMOOTHING) * total
    return codebook["sum"] / smoothed[:, None]


def nearest(z: jax.Array, codes: jax.Array) -> jax.Array:
    """Number of the code [K, D] at the least distance from each of z [N, D]: int32 [N]."""
    # |z - e|^2 without |z|^2, which is the same for all codes.
    products = jnp.dot(z, codes.T, precision="highest")
    return jnp.argmin(jnp.square(codes).sum(-1) - 2 * products, -1).astype(jnp.int32)


def update_codebook(codebook: Codebook, z: jax.Array, index: jax.Array, decay: float) -> Codebook:
    """One step of the moving averages (arXiv 1711.00937, appendix A.1).

    Args:
      codebook: before it.
      z: this device's part of the batch's vectors, [N, D].
      index: the code of each, int32 [N].
      decay: gamma.
    """
    # A product and not a scatter, whose order of summation a GPU does not fix.
    chosen = jax.nn.one_hot(index, len(codebook["size"]))
    batch = {
        "size": frequencies(index, len(codebook["size"])),
        "sum": parallel.mean(jnp.dot(chosen.T, z, precision="highest") / len(z)),
    }
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, codebook, batch)


def restart_dead(
    codebook: Codebook, z: jax.Array, scores: jax.Array, threshold: float
) -> tuple[Codebook, jax.Array]:
    """Moves codes that are hardly used to vectors of the batch, no vector to two of them.

    After Dhariwal et al. 2020 (arXiv 2005.00341), section 3.1. A code that was moved counts as one
    of average use, which gives it time to win vectors.

    Args:
      codebook: the moving averages.
      z: this device's part of the batch's vectors, [N, D].
      scores: a random number for each, [N]: the codes take the vectors in their order.
      threshold: codes under this part of an even share of the vectors are moved.

    Returns:
      The codebook, and the fraction of the codes that were moved.
    """
    count = len(codebook["size"])
    z, scores = parallel.gather((z, scores))
    dead = codebook["size"] < threshold / count
    order = jnp.argsort(scores)
    taken = z[order[(jnp.cumsum(dead) - 1) % len(z)]]
    moved = {"size": jnp.full(count, 1 / count), "sum": taken / count}
    codebook = {
        "size": jnp.where(dead, moved["size"], codebook["size"]),
        "sum": jnp.where(dead[:, None], moved["sum"], codebook["sum"]),
    }
    return codebook, dead.mean()


# Finite scalar quantisation: Mentzer et al. 2023, arXiv 2309.15505


def fsq_bound(z: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """z [..., D] into the range that rounds to `levels[d]` integers along axis d.

    Section 3.1. An even number of levels lies half a step off 0. The shift undoes it at z = 0,
    exactly, for which the paper's listing has tan in the place of the inverse of tanh.
    """
    half = (np.array(levels) - 1) / 2
    offset = np.where(np.array(levels) % 2 == 0, 0.5, 0.0)
    shift = np.arctanh(offset / half)
    return jnp.tanh(z + shift) * half - offset


def fsq_quantize(z: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """z [..., D] to the codes' vectors in [-1, 1], with the gradient of the bound."""
    bounded = fsq_bound(z, levels)
    return straight_through(bounded, jnp.round(bounded)) / (np.array(levels) // 2)


def fsq_index(vectors: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """Codes' vectors [..., D] -> their numbers, int32 [...] from 0 to prod(levels) - 1."""
    half = np.array(levels) // 2
    digits = jnp.round(vectors * half + half).astype(jnp.int32)
    return (digits * _fsq_basis(levels)).sum(-1)


def fsq_vectors(index: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """The inverse of `fsq_index`: int32 [...] -> [..., D] in [-1, 1]."""
    half = np.array(levels) // 2
    return (index[..., None] // _fsq_basis(levels) % np.array(levels) - half) / half


def _fsq_basis(levels: tuple[int, ...]) -> np.ndarray:
    """What one step along each axis adds to a code's number."""
    return np.array([math.prod(levels[:axis]) for axis in range(len(levels))], np.int32)
