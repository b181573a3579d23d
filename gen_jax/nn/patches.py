"""Squares of an image as places of their own, with more channels, and back."""

import jax


def to_patches(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, C] -> [B, H / side, W / side, side * side * C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // side, width // side, side * side * channels)


def from_patches(x: jax.Array, side: int) -> jax.Array:
    """[B, H / side, W / side, side * side * C] -> [B, H, W, C]."""
    batch, rows, columns, size = x.shape
    channels = size // side**2
    x = x.reshape(batch, rows, columns, side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * side, columns * side, channels)
