"""Networks that see what is behind noise: a U-Net, a transformer, and a perceptron of vectors."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.attention import SelfAttention
from gen_jax.nn.conv import Conv
from gen_jax.nn.dense import Dense
from gen_jax.nn.patches import from_patches, to_patches


def _frequencies(log_snr: jax.Array, size: int) -> jax.Array:
    """Sines and cosines of l [B] at several frequencies, [B, size]."""
    rates = 4.0 * 1e-3 ** (jnp.arange(size // 2) / (size // 2))
    angle = log_snr[:, None] * rates
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], 1)


class Embedding(nn.Module):
    """l [B] and what else is given [B, C] -> [B, features].

    Attributes:
      features: width.
      dtype: of the arithmetic.
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, log_snr: jax.Array, context: jax.Array | None) -> jax.Array:
        h = _frequencies(log_snr, 64)
        h = Dense(self.features, dtype=self.dtype)(h)
        if context is not None:
            h += Dense(self.features, use_bias=False, dtype=self.dtype, name="given")(context)
        return Dense(self.features, dtype=self.dtype)(nn.silu(h))


class Perceptron(nn.Module):
    """Residual layers over a whole example, each of which is told the noise level.

    What else is given is read beside z as well: a narrow posterior is about a difference of the
    two, which an embedding of one of them blurs.

    Attributes:
      outputs: channels, of the last axis.
      hidden: width of each layer; all are the same.
      dtype: of the arithmetic.
    """

    outputs: int
    hidden: tuple[int, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: jax.Array, log_snr: jax.Array, context: jax.Array | None) -> jax.Array:
        """[B, ..., C] -> [B, ..., outputs]."""
        flat = z.reshape(len(z), -1)
        if context is not None:
            flat = jnp.concatenate([flat, context], -1)
        given = nn.silu(Embedding(self.hidden[0], self.dtype)(log_snr, context))
        h = Dense(self.hidden[0], dtype=self.dtype)(flat)
        for width in self.hidden:
            inner = Dense(width, dtype=self.dtype)(nn.silu(nn.LayerNorm(dtype=self.dtype)(h)))
            inner = nn.silu(inner + Dense(width, dtype=self.dtype)(given))
            h += Dense(self.hidden[0], dtype=self.dtype)(inner)
        zeros = nn.initializers.zeros
        h = nn.LayerNorm(dtype=self.dtype)(h)
        shape = (*z.shape[:-1], self.outputs)
        size = math.prod(shape[1:])
        return Dense(size, dtype="float32", kernel_init=zeros)(h).reshape(shape)


class AdaptiveBlock(nn.Module):
    """A transformer's block whose norms and outputs depend on the noise level.

    Peebles and Xie 2023 (DiT, arXiv 2212.09748), section 3.2, adaLN-Zero.

    Attributes:
      features: of each place.
      heads: of the attention.
      dtype: of the arithmetic.
    """

    features: int
    heads: int
    dtype: str

    @nn.compact
    def __call__(self, h: jax.Array, given: jax.Array) -> jax.Array:
        """h [B, T, F], given [B, G] -> [B, T, F]."""
        zeros = nn.initializers.zeros
        adapt = Dense(6 * self.features, dtype=self.dtype, kernel_init=zeros, name="adapt")
        parts = jnp.split(adapt(nn.silu(given))[:, None], 6, -1)

        def norm(h, shift, scale):
            plain = nn.LayerNorm(use_bias=False, use_scale=False, dtype=self.dtype)
            return plain(h) * (1 + scale) + shift

        attention = SelfAttention(self.features, self.heads, None, self.dtype)
        h += parts[2] * attention(norm(h, *parts[:2]))
        inner = nn.gelu(Dense(4 * self.features, dtype=self.dtype)(norm(h, *parts[3:5])))
        return h + parts[5] * Dense(self.features, dtype=self.dtype)(inner)


class Transformer(nn.Module):
    """Every place looks at all: patches of an image, or elements of a sequence (DiT).

    Attributes:
      features: of each place.
      outputs: channels.
      layers: blocks.
      heads: of the attention.
      patch: side of an image's patches.
      dtype: of the arithmetic.
    """

    features: int
    outputs: int
    layers: int
    heads: int
    patch: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: jax.Array, log_snr: jax.Array, context: jax.Array | None) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, outputs], or [B, T, C] -> [B, T, outputs]."""
        is_image = z.ndim == 4
        given = Embedding(self.features, self.dtype)(log_snr, context)
        read = to_patches(z, self.patch) if is_image else z
        h = Dense(self.features, dtype=self.dtype)(read)
        if is_image:
            # Attention knows how far apart places of a sequence are; of an image they are told.
            small = nn.initializers.normal(0.02)
            h += self.param("places", small, h.shape[1:]).astype(h.dtype)
        places = h.shape[1:-1]
        h = h.reshape(len(h), -1, self.features)
        for _ in range(self.layers):
            h = AdaptiveBlock(self.features, self.heads, self.dtype)(h, given)
        h = nn.LayerNorm(dtype=self.dtype)(h)
        size = self.outputs * (self.patch**2 if is_image else 1)
        h = Dense(size, dtype="float32", kernel_init=nn.initializers.zeros)(h)
        h = h.reshape(len(h), *places, size)
        return from_patches(h, self.patch) if is_image else h


class ResidualBlock(nn.Module):
    """Two convolutions, between which scale and shift depend on the noise level.

    Dhariwal and Nichol 2021 (arXiv 2105.05233), section 3.1.

    Attributes:
      features: of the output.
      dtype: of the arithmetic.
    """

    features: int
    dtype: str

    @nn.compact
    def __call__(self, h: jax.Array, given: jax.Array) -> jax.Array:
        groups = {"num_groups": None, "group_size": 8, "dtype": self.dtype}
        inner = nn.silu(nn.GroupNorm(**groups)(h))
        inner = Conv(self.features, (3, 3), dtype=self.dtype)(inner)
        both = Dense(2 * self.features, dtype=self.dtype)(nn.silu(given))
        scale, shift = jnp.split(both[:, None, None], 2, -1)
        inner = nn.silu(nn.GroupNorm(**groups)(inner) * (1 + scale) + shift)
        zeros = nn.initializers.zeros
        inner = Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=zeros)(inner)
        if h.shape[-1] != self.features:
            h = Dense(self.features, dtype=self.dtype)(h)
        return h + inner


class Attention(nn.Module):
    """Every place of an image looks at all.

    Attributes:
      heads: which divide the features into even parts.
      dtype: of the arithmetic.
    """

    heads: int
    dtype: str

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        batch, height, width, features = h.shape
        flat = nn.GroupNorm(num_groups=None, group_size=8, dtype=self.dtype)(h)
        inputs = Dense(3 * features, use_bias=False, dtype=self.dtype)(flat)
        shape = (batch, height * width, self.heads, features // self.heads)
        q, k, v = (part.reshape(shape) for part in jnp.split(inputs, 3, -1))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q * shape[-1] ** -0.5, k).astype(jnp.float32)
        read = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1).astype(h.dtype), v)
        zeros = nn.initializers.zeros
        outputs = Dense(features, use_bias=False, dtype=self.dtype, kernel_init=zeros)
        return h + outputs(read.reshape(h.shape))


class UNet(nn.Module):
    """Down to a coarse image and up again, with what was there at each size (Ho et al. 2020).

    Attributes:
      features: at the full size, a multiple of 8.
      outputs: channels.
      multipliers: of them at each size; every size is half of the one before, rounded up.
      blocks: residual ones at each size, down and up.
      heads: of the attention at the coarsest size.
      patch: side of squares of pixels that are one place of the full size.
      dtype: of the arithmetic.
    """

    features: int
    outputs: int
    multipliers: tuple[int, ...]
    blocks: int
    heads: int
    patch: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: jax.Array, log_snr: jax.Array, context: jax.Array | None) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, outputs]."""
        given = Embedding(4 * self.features, self.dtype)(log_snr, context)
        h = Conv(self.features, (3, 3), dtype=self.dtype)(to_patches(z, self.patch))
        seen = [h]
        for level, times in enumerate(self.multipliers):
            if level:
                h = Conv(h.shape[-1], (3, 3), (2, 2), dtype=self.dtype)(h)
                seen.append(h)
            for _ in range(self.blocks):
                h = ResidualBlock(times * self.features, self.dtype)(h, given)
                seen.append(h)
        h = Attention(self.heads, self.dtype)(h)
        h = ResidualBlock(h.shape[-1], self.dtype)(h, given)
        for level, times in reversed(list(enumerate(self.multipliers))):
            for _ in range(self.blocks + 1):
                h = jnp.concatenate([h, seen.pop()], -1)
                h = ResidualBlock(times * self.features, self.dtype)(h, given)
            if level:
                height, width = seen[-1].shape[1:3]
                h = jnp.repeat(jnp.repeat(h, 2, 1), 2, 2)[:, :height, :width]
                h = Conv(h.shape[-1], (3, 3), dtype=self.dtype)(h)
        h = nn.silu(nn.GroupNorm(num_groups=None, group_size=8, dtype=self.dtype)(h))
        zeros = nn.initializers.zeros
        size = self.outputs * self.patch**2
        return from_patches(Conv(size, (3, 3), dtype="float32", kernel_init=zeros)(h), self.patch)
