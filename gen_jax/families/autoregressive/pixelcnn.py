"""The gated PixelCNN: convolutions that see the pixels above, and to the left in the same row.

van den Oord et al. 2016 (arXiv 1606.05328). Two stacks instead of one with masks, so that there is
no blind spot: the vertical one sees all rows above, the horizontal one the row's own pixels before
this one and what the vertical stack says.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.conv import Conv
from gen_jax.nn.dense import Dense


def _gate(h: jax.Array) -> jax.Array:
    """tanh(a) sigmoid(b) of the two halves of the features (equation 2)."""
    a, b = jnp.split(h, 2, -1)
    return jnp.tanh(a) * nn.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of both stacks (figure 2).

    Attributes:
      features: F, of each stack.
      kernel: side of the windows, odd.
      dilation: steps between the pixels of a window.
      skips: whether the horizontal stack is added to what it becomes.
      dtype: of the arithmetic.
    """

    features: int
    kernel: int
    dilation: int
    skips: bool
    dtype: str = "float32"

    @property
    def reach(self) -> int:
        """How many rows up, and columns to the sides, the windows see."""
        return self.dilation * (self.kernel // 2)

    def setup(self):
        double, half = 2 * self.features, self.kernel // 2
        step = (self.dilation, self.dilation)

        def window(size):
            # What is beyond the edges is filled by hand: a step has it in its memory.
            return Conv(double, size, padding="VALID", kernel_dilation=step, dtype=self.dtype)

        # The rows above and this one, which in the vertical stack are all above the pixel's own.
        self.vertical = window((half + 1, self.kernel))
        self.horizontal = window((1, half + 1))
        self.between = Dense(double, dtype=self.dtype)
        self.given = Dense(2 * double, use_bias=False, dtype=self.dtype)
        self.out = Dense(self.features, dtype=self.dtype)

    def _given(self, context: jax.Array | None):
        if context is None:
            return 0, 0
        return jnp.split(self.given(context)[:, None, None], 2, -1)

    def rows(self, vertical: jax.Array, context: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """The vertical stack [B, reach + n, W, .] of n rows with those above.

        Returns:
          what it becomes, [B, n, W, F], and what it tells the horizontal stack, [B, n, W, 2 F].
        """
        sides = ((0, 0), (0, 0), (self.reach, self.reach), (0, 0))
        v = self.vertical(jnp.pad(vertical, sides)) + self._given(context)[0]
        return _gate(v), self.between(v)

    def row(self, horizontal: jax.Array, told: jax.Array, context: jax.Array | None) -> jax.Array:
        """The horizontal stack [B, n, reach + m, .] of m columns with those to the left.

        `told` is [B, n, m, 2 F], of the vertical stack; -> [B, n, m, F].
        """
        h = self.horizontal(horizontal) + told + self._given(context)[1]
        h = self.out(_gate(h))
        return h + horizontal[:, :, self.reach :] if self.skips else h

    def __call__(self, vertical, horizontal, context):
        """Both stacks [B, H, W, .] -> [B, H, W, F] each."""
        above = ((0, 0), (self.reach, 0), (0, 0), (0, 0))
        left = ((0, 0), (0, 0), (self.reach, 0), (0, 0))
        v, told = self.rows(jnp.pad(vertical, above), context)
        return v, self.row(jnp.pad(horizontal, left), told, context)


class PixelCNN(nn.Module):
    """Parameters of each pixel from the pixels before it, row by row.

    The channels of a pixel are independent, given the pixels before it.

    Attributes:
      shape: [H, W, C], of an image.
      features: F, of each stack.
      dilations: of each gated layer after the first, steps between the pixels of its windows.
      num_params: P, of each channel.
      kernel: side of their windows, odd; of the first it is `first_kernel`.
      first_kernel: 7 in the paper.
      dtype: of the arithmetic.
    """

    shape: tuple[int, int, int]
    features: int
    dilations: tuple[int, ...]
    num_params: int
    kernel: int = 3
    first_kernel: int = 7
    dtype: str = "float32"
    reads_values: ClassVar[bool] = False

    @property
    def element(self) -> tuple[int, ...]:
        """A pixel."""
        return self.shape[-1:]

    def setup(self):
        first = GatedLayer(self.features, self.first_kernel, 1, False, self.dtype)
        others = [
            GatedLayer(self.features, self.kernel, dilation, True, self.dtype)
            for dilation in self.dilations
        ]
        self.layers = [first, *others]
        self.hidden = Dense(self.features, dtype=self.dtype)
        self.output = Dense(self.shape[-1] * self.num_params, dtype=self.dtype)

    def __call__(
        self,
        x: jax.Array,
        place: jax.Array,
        context: jax.Array | None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """See `family.Network`."""
        # Moved by one row and by one column: from here on a layer may look at its own place.
        vertical = jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
        horizontal = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, context)
        return self.head(horizontal, x)

    def head(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """See `family.Cached`."""
        outputs = self.output(nn.relu(self.hidden(nn.relu(features))))
        return outputs.reshape(*features.shape[:-1], self.shape[-1], self.num_params)

    def start(self, num: int) -> Any:
        """See `family.Cached`.

        Of each layer: the inputs of its vertical stack, all rows with zeros above; what the stack
        tells in this row; the inputs of its horizontal stack in this row, with zeros to the left.
        Besides, the pixels of the row.
        """
        height, width, channels = self.shape
        memory, size = [], channels
        for layer in self.layers:
            vertical = jnp.zeros((num, layer.reach + height, width, size), self.dtype)
            told = jnp.zeros((num, 1, width, 2 * self.features), self.dtype)
            horizontal = jnp.zeros((num, 1, layer.reach + width, size), self.dtype)
            memory.append((vertical, told, horizontal))
            size = self.features
        return memory, jnp.zeros((num, 1, width, channels), self.dtype)

    def step(self, memory, number, before, context) -> tuple[jax.Array, Any]:
        """See `family.Cached`. The vertical stack goes a row further where a row begins."""
        layers, pixels = memory
        width = self.shape[1]
        row, column = number // width, number % width
        before = before[:, None, None]
        written = jax.lax.dynamic_update_slice_in_dim(pixels, before, (number - 1) % width, 2)
        pixels = jnp.where(number > 0, written, pixels)

        def begin(layers):
            after, h = [], jnp.where(number > 0, pixels, jnp.zeros_like(pixels))
            for layer, (vertical, _, horizontal) in zip(self.layers, layers, strict=True):
                place = layer.reach + row
                vertical = jax.lax.dynamic_update_slice_in_dim(vertical, h, place, 1)
                seen = jax.lax.dynamic_slice_in_dim(vertical, row, layer.reach + 1, 1)
                h, told = layer.rows(seen, context)
                after.append((vertical, told, horizontal))
            return after

        layers = jax.lax.cond(column == 0, begin, lambda layers: layers, layers)
        h, after = jnp.where(column > 0, before, jnp.zeros_like(before)), []
        for layer, (vertical, told, horizontal) in zip(self.layers, layers, strict=True):
            place = layer.reach + column
            horizontal = jax.lax.dynamic_update_slice_in_dim(horizontal, h, place, 2)
            seen = jax.lax.dynamic_slice_in_dim(horizontal, column, layer.reach + 1, 2)
            own = jax.lax.dynamic_slice_in_dim(told, column, 1, 2)
            h = layer.row(seen, own, context)
            after.append((vertical, told, horizontal))
        return h[:, 0, 0], (after, pixels)
