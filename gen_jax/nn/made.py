"""MADE: a dense network in which each output depends on the inputs before it in an order.

Germain et al. 2015 (arXiv 1502.03509).
"""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.nn.dense import Dense
from gen_jax.nn.masked import MaskedDense


class MADE(nn.Module):
    """Masked dense layers, whose masks follow from the place of each input in an order.

    A unit of a hidden layer has a degree and sees the inputs whose place is below it; the output
    of an input sees the units whose degree is at most its place. Degrees start at 0, and such units
    see no input: they bring the condition to every output, the first included.

    Attributes:
      size: D, inputs.
      hidden: widths of the hidden layers.
      num_params: P, of each output.
      activation: between the layers.
      starts_at_zero: whether outputs are 0 before training, whatever the input.
      dtype: of the arithmetic.
    """

    size: int
    hidden: tuple[int, ...]
    num_params: int
    element: ClassVar[tuple[int, ...]] = (1,)
    reads_values: ClassVar[bool] = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    starts_at_zero: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        place: jax.Array,
        context: jax.Array | None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """-> the parameters of each output, [B, D, P].

        Args:
          x: inputs, [B, ...] with D dimensions.
          place: of each input in the order, whole numbers [D] from 0 to D - 1.
          context: what all outputs may depend on, [B, C], or None.
        """
        degrees = [np.arange(width) % self.size for width in self.hidden]
        x = x.reshape(len(x), -1)
        h, before = x, place + 1
        for index, degree in enumerate(degrees):
            layer = MaskedDense(len(degree), self.dtype, name=f"hidden_{index}")
            h = layer(h, before[:, None] <= degree)
            if context is not None and index == 0:
                given = Dense(len(degree), use_bias=False, dtype=self.dtype, name="context")
                h += given(context)
            h, before = self.activation(h), degree
        width = self.size * self.num_params
        mask = jnp.repeat(before[:, None] <= place, self.num_params, 1)
        init = nn.initializers.zeros if self.starts_at_zero else nn.initializers.lecun_normal()
        outputs = MaskedDense(width, self.dtype, kernel_init=init, name="output")(h, mask)
        # What is left of a linear model beside the layers (section 4.3).
        direct = MaskedDense(width, self.dtype, use_bias=False, kernel_init=init, name="direct")
        outputs += direct(x, jnp.repeat(place[:, None] < place, self.num_params, 1))
        return outputs.reshape(*x.shape, self.num_params)
