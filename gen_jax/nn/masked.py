"""Dense layers in which each output depends on the inputs before it alone."""

import itertools

import flax.linen as nn
import jax
import numpy as np


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
    """A dense layer without the connections that `mask` [inputs, outputs] has no 1 for."""

    mask: np.ndarray
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), self.mask.shape)
        bias = self.param("bias", nn.initializers.zeros, self.mask.shape[1:])
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel * self.mask, bias, dtype=self.dtype)
        return x @ kernel + bias
