"""Networks that say how a coupling maps what does not stay; all begin with 0."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.conv import Conv
from gen_jax.nn.dense import Dense
from gen_jax.nn.elu import concat_elu


class Perceptron(nn.Module):
    """Dense layers over the whole example.

    Attributes:
      hidden: widths.
      num_params: P, of each dimension.
      dtype: of the arithmetic.
    """

    hidden: tuple[int, ...]
    num_params: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None) -> jax.Array:
        """[B, ...] -> [B, ..., P]."""
        h = x.reshape(len(x), -1)
        size = h.shape[1] * self.num_params
        for index, width in enumerate(self.hidden):
            h = Dense(width, dtype=self.dtype)(h)
            if context is not None:
                h += Dense(width, use_bias=False, dtype=self.dtype, name=f"given_{index}")(context)
            h = nn.gelu(h)
        h = Dense(size, dtype="float32", kernel_init=nn.initializers.zeros)(h)
        return h.reshape(*x.shape, self.num_params)


class GatedConvolutions(nn.Module):
    """Residual gated convolutions, as the flows of Amsterdam's deep learning tutorials have.

    Attributes:
      features: F.
      layers: residual ones.
      num_params: P, of each dimension.
      dtype: of the arithmetic.
    """

    features: int
    layers: int
    num_params: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C, P]; the context is [B, N] or an image [B, H, W, N]."""
        channels, is_image = x.shape[-1], context is not None and context.ndim == 4
        h = jnp.concatenate([x, context], -1) if is_image else x
        h = Conv(self.features, (3, 3), dtype=self.dtype)(h)
        if context is not None and not is_image:
            given = Dense(self.features, use_bias=False, dtype=self.dtype, name="given")(context)
            h += given[:, None, None]
        for _ in range(self.layers):
            inner = Conv(self.features, (3, 3), dtype=self.dtype)(concat_elu(h))
            inner = Conv(2 * self.features, (1, 1), dtype=self.dtype)(concat_elu(inner))
            value, gate = jnp.split(inner, 2, -1)
            h = nn.LayerNorm(dtype=self.dtype)(h + value * nn.sigmoid(gate))
        outputs = channels * self.num_params
        zeros = nn.initializers.zeros
        h = Conv(outputs, (3, 3), dtype="float32", kernel_init=zeros)(concat_elu(h))
        return h.reshape(*x.shape, self.num_params)
