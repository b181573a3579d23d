"""The gated PixelCNN: convolutions that see the pixels above, and to the left in the same row.

van den Oord et al. 2016 (arXiv 1606.05328). Two stacks instead of one with masks, so that there is
no blind spot: the vertical one sees all rows above, the horizontal one the row's own pixels before
this one and what the vertical stack says.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.conv import Conv


def _down(x: jax.Array, rows: int = 1) -> jax.Array:
    """Images [B, H, W, C] moved down, so that each place holds what was above it."""
    return jnp.pad(x, ((0, 0), (rows, 0), (0, 0), (0, 0)))[:, : x.shape[1]]


def _right(x: jax.Array) -> jax.Array:
    """Images moved to the right, so that each place holds what was left of it."""
    return jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, : x.shape[2]]


def _gate(h: jax.Array) -> jax.Array:
    """tanh(a) sigmoid(b) of the two halves of the features (equation 2)."""
    a, b = jnp.split(h, 2, -1)
    return jnp.tanh(a) * nn.sigmoid(b)


class PixelCNN(nn.Module):
    """Parameters of each pixel from the pixels before it, row by row.

    The channels of a pixel are independent, given the pixels before it.

    Attributes:
      element: [C], of a pixel.
      features: F, of each stack.
      dilations: of each gated layer after the first, steps between the pixels of its windows.
      num_params: P, of each channel.
      kernel: side of their windows, odd; of the first it is `first_kernel`.
      first_kernel: 7 in the paper.
      dtype: of the arithmetic.
    """

    element: tuple[int, ...]
    features: int
    dilations: tuple[int, ...]
    num_params: int
    kernel: int = 3
    first_kernel: int = 7
    dtype: str = "float32"
    reads_values: ClassVar[bool] = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        place: jax.Array,
        context: jax.Array | None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Images [B, H, W, C], context [B, N] or None -> [B, H, W, C, P].

        `place` is what MADE is told; the order of this network is that of its windows.
        """
        channels = x.shape[-1]
        # Moved by one row and by one column: from here on a layer may look at its own place.
        vertical, horizontal = self._layer(
            _down(x), _right(x), context, self.first_kernel, 1, skip=None, name="first"
        )
        for index, step in enumerate(self.dilations):
            vertical, horizontal = self._layer(
                vertical, horizontal, context, self.kernel, step, horizontal, f"layer_{index}"
            )
        h = nn.relu(self._conv(self.features, (1, 1), "hidden")(nn.relu(horizontal)))
        outputs = self._conv(channels * self.num_params, (1, 1), "output")(h)
        return outputs.reshape(*x.shape, self.num_params)

    def _conv(self, features: int, window: tuple[int, int], name: str, step: int = 1) -> Conv:
        # Over the rows above and this one, or the columns to the left and this one.
        pads = [(step * (size - 1), 0) for size in window]
        dilation = (step, step)
        return Conv(
            features, window, padding=pads, kernel_dilation=dilation, dtype=self.dtype, name=name
        )

    def _layer(self, vertical, horizontal, context, kernel, step, skip, name):
        """One gated layer (figure 2): both stacks [B, H, W, .] -> [B, H, W, F]."""
        double, half = 2 * self.features, kernel // 2
        reach = step * half
        # The rows above and this one of the vertical stack, which are all above the pixel's own.
        window = Conv(
            double,
            (half + 1, kernel),
            padding=[(reach, 0), (reach, reach)],
            kernel_dilation=(step, step),
            dtype=self.dtype,
            name=f"{name}_vertical",
        )
        v = window(vertical)
        h = self._conv(double, (1, half + 1), f"{name}_horizontal", step)(horizontal)
        h += self._conv(double, (1, 1), f"{name}_between")(v)
        if context is not None:
            both = nn.Dense(2 * double, use_bias=False, dtype=self.dtype, name=f"{name}_context")
            of_v, of_h = jnp.split(both(context)[:, None, None], 2, -1)
            v, h = v + of_v, h + of_h
        h = self._conv(self.features, (1, 1), f"{name}_out")(_gate(h))
        return _gate(v), h if skip is None else h + skip
