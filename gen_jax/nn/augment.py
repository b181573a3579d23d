"""Differentiable augmentation of images, for discriminators and classifiers.

Each function takes images [B, H, W, C] and keys [B] and moves gradients through. Applied with a
probability below one to real and generated images alike it does not leak into what a generator
learns (Karras et al. 2020, arXiv 2006.06676, section 2.2).
"""

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib


def translation(x: jax.Array, keys: jax.Array, ratio: float = 0.125) -> jax.Array:
    """Moves an image by up to `ratio` of its size and fills up with its edge of zeros.

    Zhao et al. 2020 (DiffAugment, arXiv 2006.10738), section 3.2.
    """
    limits = _pixels(x, ratio)
    low, high = jnp.array([-limits[0], -limits[1]]), jnp.array([limits[0] + 1, limits[1] + 1])

    def move(key, image):
        shift = jax.random.randint(key, (2,), low, high)
        padded = jnp.pad(image, [(n, n) for n in limits] + [(0, 0)])
        return jax.lax.dynamic_slice(padded, (*(shift + jnp.array(limits)), 0), image.shape)

    return jax.vmap(move)(keys, x)


def cutout(x: jax.Array, keys: jax.Array, ratio: float = 0.5) -> jax.Array:
    """Sets a rectangle of `ratio` of each side to zero, around any point of the image.

    Zhao et al. 2020 (DiffAugment, arXiv 2006.10738), section 3.2. What of it lies outside of the
    image is cut off.
    """
    sizes = _pixels(x, ratio)

    def inside(key, length, size):
        # The middle of an even number of pixels lies between two of them, or at either edge.
        first = jax.random.randint(key, (), 0, length + 1 - size % 2) - size // 2
        pixel = jnp.arange(length)
        return (pixel >= first) & (pixel < first + size)

    def cut(key, image):
        keys = jax.random.split(key)
        rows, columns = map(inside, keys, image.shape[:2], sizes)
        return jnp.where(rows[:, None, None] & columns[None, :, None], 0, image)

    return jax.vmap(cut)(keys, x)


def color(x: jax.Array, keys: jax.Array) -> jax.Array:
    """Brightness, saturation and contrast, in this order, of images in [-1, 1]."""
    amount = keys_lib.uniform(keys, (3,))[:, :, None, None, None]
    x = x + amount[:, 0] - 0.5
    mean = x.mean(-1, keepdims=True)
    x = mean + (x - mean) * 2 * amount[:, 1]
    mean = x.mean((1, 2, 3), keepdims=True)
    return mean + (x - mean) * (amount[:, 2] + 0.5)


def flip(x: jax.Array, keys: jax.Array) -> jax.Array:
    """Mirrors an image left to right, every second time."""
    chosen = keys_lib.uniform(keys) < 0.5
    return jnp.where(chosen[:, None, None, None], x[:, :, ::-1], x)


def jitter(x: jax.Array, keys: jax.Array) -> jax.Array:
    """Moves an image by up to a sixteenth of its size."""
    return translation(x, keys, 0.0625)


def _pixels(x: jax.Array, ratio: float) -> list[int]:
    """The part of height and width, halves rounded up."""
    return [int(size * ratio + 0.5) for size in x.shape[1:3]]


AUGMENTATIONS = {
    "translation": translation,
    "jitter": jitter,
    "cutout": cutout,
    "color": color,
    "flip": flip,
}


def augment(
    x: jax.Array, keys: jax.Array, names: tuple[str, ...], probability: jax.typing.ArrayLike = 1.0
) -> jax.Array:
    """Applies the named augmentations in turn, each to an image with some probability."""
    for name in names:
        own = keys_lib.named(keys, name)
        chosen = keys_lib.uniform(keys_lib.named(own, "chosen")) < probability
        x = jnp.where(chosen[:, None, None, None], AUGMENTATIONS[name](x, own), x)
    return x
