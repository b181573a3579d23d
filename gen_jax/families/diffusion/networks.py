"""Networks that see what is behind noise: of images a U-Net, of vectors a perceptron."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.conv import Conv


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
        h = nn.Dense(self.features, dtype=self.dtype)(h)
        if context is not None:
            h += nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="given")(context)
        return nn.Dense(self.features, dtype=self.dtype)(nn.silu(h))


class Perceptron(nn.Module):
    """Residual layers over a whole example, each of which is told the noise level.

    Attributes:
      hidden: width of each layer; all are the same.
      dtype: of the arithmetic.
    """

    hidden: tuple[int, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: jax.Array, log_snr: jax.Array, context: jax.Array | None) -> jax.Array:
        """[B, ...] -> [B, ...]."""
        flat = z.reshape(len(z), -1)
        given = nn.silu(Embedding(self.hidden[0], self.dtype)(log_snr, context))
        h = nn.Dense(self.hidden[0], dtype=self.dtype)(flat)
        for width in self.hidden:
            inner = nn.Dense(width, dtype=self.dtype)(nn.silu(nn.LayerNorm(dtype=self.dtype)(h)))
            inner = nn.silu(inner + nn.Dense(width, dtype=self.dtype)(given))
            h += nn.Dense(self.hidden[0], dtype=self.dtype)(inner)
        zeros = nn.initializers.zeros
        h = nn.LayerNorm(dtype=self.dtype)(h)
        return nn.Dense(flat.shape[1], dtype="float32", kernel_init=zeros)(h).reshape(z.shape)


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
        both = nn.Dense(2 * self.features, dtype=self.dtype)(nn.silu(given))
        scale, shift = jnp.split(both[:, None, None], 2, -1)
        inner = nn.silu(nn.GroupNorm(**groups)(inner) * (1 + scale) + shift)
        zeros = nn.initializers.zeros
        inner = Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=zeros)(inner)
        if h.shape[-1] != self.features:
            h = nn.Dense(self.features, dtype=self.dtype)(h)
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
        inputs = nn.Dense(3 * features, use_bias=False, dtype=self.dtype)(flat)
        shape = (batch, height * width, self.heads, features // self.heads)
        q, k, v = (part.reshape(shape) for part in jnp.split(inputs, 3, -1))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q * shape[-1] ** -0.5, k).astype(jnp.float32)
        read = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1).astype(h.dtype), v)
        zeros = nn.initializers.zeros
        outputs = nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=zeros)
        return h + outputs(read.reshape(h.shape))


class UNet(nn.Module):
    """Down to a coarse image and up again, with what was there at each size (Ho et al. 2020).

    Attributes:
      features: at the full size, a multiple of 8.
      multipliers: of them at each size; every size is half of the one before, rounded up.
      blocks: residual ones at each size, down and up.
      heads: of the attention at the coarsest size.
      dtype: of the arithmetic.
    """

    features: int
    multipliers: tuple[int, ...]
    blocks: int
    heads: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: jax.Array, log_snr: jax.Array, context: jax.Array | None) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        given = Embedding(4 * self.features, self.dtype)(log_snr, context)
        h = Conv(self.features, (3, 3), dtype=self.dtype)(z)
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
        return Conv(z.shape[-1], (3, 3), dtype="float32", kernel_init=zeros)(h)
