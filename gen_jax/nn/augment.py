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
    limits = [round(size * ratio) for size in x.shape[1:3]]
    low, high = jnp.array([-limits[0], -limits[1]]), jnp.array([limits[0] + 1, limits[1] + 1])

    def move(key, image):
        shift = jax.random.randint(key, (2,), low, high)
        padded = jnp.pad(image, [(n, n) for n in limits] + [(0, 0)])
        return jax.lax.dynamic_slice(padded, (*(shift + jnp.array(limits)), 0), image.shape)

    return jax.vmap(move)(keys, x)


def cutout(x: jax.Array, keys: jax.Array, ratio: float = 0.5) -> jax.Array:
    """Sets a square of `ratio` of the size to zero, around any point of the image."""
    size = [round(n * ratio) for n in x.shape[1:3]]

    def cut(key, image):
        center = [
            jax.random.randint(k, (), 0, n)
            for k, n in zip(jax.random.split(key), image.shape, strict=False)
        ]
        inside = [
            jnp.abs(jnp.arange(n) - c + 0.5) <= s / 2
            for n, c, s in zip(image.shape, center, size, strict=False)
        ]
        return jnp.where(inside[0][:, None, None] & inside[1][None, :, None], 0, image)

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
