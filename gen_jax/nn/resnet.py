"""Residual blocks without normalisation, and the resampling between them."""

from collections.abc import Callable

import flax.linen as nn
import jax

from gen_jax.nn.conv import Conv


def leaky_relu(x: jax.Array) -> jax.Array:
    """Slope 0.2 below zero: the custom of GANs since DCGAN."""
    return nn.leaky_relu(x, 0.2)


def resize(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear, antialiased: images [B, H, W, C] -> [B, *size, C]."""
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "bilinear")


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))) with Fix-up initialisation (Zhang et al. 2019, 1901.09321).

    The last convolution starts at zero and the first is scaled by `depth`^(-1/2), `depth` being
    the number of blocks in the network, so that no normalisation is needed. As in R3GAN (Huang
    et al. 2024, arXiv 2501.05441, section 3.3), with plain convolutions in place of grouped ones.
    """

    depth: int

    @nn.compact
    def __call__(self, x: jax.Array, layer: Callable = lambda module, h: module(h)) -> jax.Array:
        """x [B, H, W, C] -> the same shape; `layer` applies a convolution (spectral norm)."""
        features = x.shape[-1]
        scaled = nn.initializers.variance_scaling(2.0 / self.depth, "fan_in", "truncated_normal")
        h = layer(Conv(features, (3, 3), kernel_init=scaled), leaky_relu(x))
        h = layer(Conv(features, (3, 3), kernel_init=nn.initializers.zeros), leaky_relu(h))
        return x + h


def halvings(size: tuple[int, int], smallest: int = 4) -> list[tuple[int, int]]:
    """Image sizes from `size` down, halved (rounded up) until a side is at most `smallest`."""
    sizes = [tuple(size)]
    while min(sizes[-1]) > smallest:
        sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
    return sizes
