"""Dense layers in which each output depends on the inputs before it alone."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.nn.dense import by_rows


def masks(size: int, hidden: tuple[int, ...]) -> list[np.ndarray]:
    """Masks [inputs, outputs] of the layers from `size` inputs to as many outputs.

    Output i depends on inputs 0 ... i - 1: Germain et al. 2015 (MADE, arXiv 1502.03509), equations
    8 and 9. The degrees of hidden units start at 0 here: such units see no input, and bring a
    context to every output, the first included.
    """
    inputs = np.arange(1, size + 1)
    degrees = [inputs, *(np.arange(width) % size for width in hidden)]
    inner = [after >= before[:, None] for before, after in itertools.pairwise(degrees)]
    return [np.float32(mask) for mask in (*inner, inputs > degrees[-1][:, None])]


class MaskedDense(nn.Module):
    """A dense layer without the connections that a mask has no 1 for.

    Attributes:
      features: number of outputs.
      dtype: of the arithmetic.
      use_bias: whether a bias is added.
      kernel_init: of the kernel.
    """

    features: int
    dtype: str
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.typing.ArrayLike) -> jax.Array:
        """x [..., inputs] and the mask [inputs, features], which may be traced."""
        kernel = self.param("kernel", self.kernel_init, jnp.shape(mask))
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel * mask, bias, dtype=self.dtype)

        def layer(x: jax.Array) -> jax.Array:
            return x @ kernel if bias is None else x @ kernel + bias

        return by_rows(layer, x)
