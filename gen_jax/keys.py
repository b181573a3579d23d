"""Random keys are derived from (seed, stream name, step, global example index), never stored.

Every example of a batch has a key of its own. So the numbers drawn for an example depend on
its place in the global batch and not on how the batch is split: a run is the same on one
device and on eight, with gradient accumulation and without, and after a resume.
"""

import math
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

# By name, whatever JAX_DEFAULT_PRNG_IMPL says: of others (rbg) the numbers that a key gives depend
# on how many keys are asked at once, and so figures on the batch size.
GENERATOR = "threefry2x32"


def stream(seed: jax.typing.ArrayLike, name: str) -> jax.Array:
    """The key of one named stream of a seed; `seed` may be traced."""
    return jax.random.fold_in(jax.random.key(seed, impl=GENERATOR), zlib.crc32(name.encode()))


def per_example(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key for each integer of `index` [B] -> keys [B]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def named(keys: jax.Array, name: str) -> jax.Array:
    """A sub-stream of one key or of each key of an array: same shape as `keys`."""
    return fold(keys, zlib.crc32(name.encode()))


def fold(keys: jax.Array, number: jax.typing.ArrayLike) -> jax.Array:
    """Folds one number into a key or into each key of an array: same shape as `keys`."""
    fold_all = jnp.vectorize(jax.random.fold_in, excluded={1})
    return fold_all(keys, number)


def normal(keys: jax.Array, shape: Sequence[int] = ()) -> jax.Array:
    """Standard normal draws: keys [B] -> float32 [B, *shape]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys)


def uniform(keys: jax.Array, shape: Sequence[int] = ()) -> jax.Array:
    """Uniform draws from [0, 1): keys [B] -> float32 [B, *shape]."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(keys)


def bernoulli(keys: jax.Array, probability: jax.Array) -> jax.Array:
    """Draws 0 or 1: keys [B], probability [B, ...] -> float32 [B, ...].

    Probabilities are rounded to multiples of 2^-16, so that one random word serves two draws:
    binarising a batch of images would otherwise be a fifth of a small network's step.
    """
    shape = probability.shape[1:]
    size = math.prod(shape)

    def words(key: jax.Array) -> jax.Array:
        pairs = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
        return jax.lax.bitcast_convert_type(pairs, jnp.uint16).reshape(-1)[:size].reshape(shape)

    threshold = jnp.round(probability * 2.0**16)
    return (jax.vmap(words)(keys) < threshold).astype(jnp.float32)
