"""A small PixelSNAIL: causal convolutions for what is near, attention for all that came before.

Chen et al. 2018 (arXiv 1712.09763). Here a convolution's window is the five pixels of a 3x3 square
that are not behind its centre, so that one stack serves; attention sees what windows leave out.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.attention import SelfAttention, dropout
from gen_jax.nn.dense import Dense
from gen_jax.nn.elu import elu
from gen_jax.nn.sequence import Head, Reader

# Rows and columns from the centre of a window to what it sees: it, and those before it.
_WINDOW = ((0, 0), (0, -1), (-1, -1), (-1, 0), (-1, 1))


class CausalConv(nn.Module):
    """A convolution over the pixels of `_WINDOW`.

    Attributes:
      features: of its output.
      inputs: of its input.
      shape: [H, W].
      dtype: of the arithmetic.
    """

    features: int
    inputs: int
    shape: tuple[int, int]
    dtype: str = "float32"

    def setup(self):
        self.dense = Dense(self.features, dtype=self.dtype)

    def __call__(self, h: jax.Array) -> jax.Array:
        """[B, H * W, .] -> [B, H * W, features]."""
        height, width = self.shape
        image = h.reshape(len(h), height, width, -1)
        padded = jnp.pad(image, ((0, 0), (1, 0), (1, 1), (0, 0)))
        seen = [
            padded[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]
            for row, column in _WINDOW
        ]
        return self.dense(jnp.concatenate(seen, -1)).reshape(*h.shape[:2], -1)

    def start(self, num: int) -> jax.Array:
        """The inputs so far, with zeros around them."""
        height, width = self.shape
        return jnp.zeros((num, 1 + height, width + 2, self.inputs), self.dtype)

    def step(self, h: jax.Array, memory: jax.Array, number: jax.Array):
        """A pixel [B, .] -> [B, features]."""
        row, column = number // self.shape[1], number % self.shape[1]
        memory = jax.lax.dynamic_update_slice(memory, h[:, None, None], (0, 1 + row, 1 + column, 0))
        size = (len(h), 1, 1, self.inputs)
        seen = [
            jax.lax.dynamic_slice(memory, (0, 1 + row + down, 1 + column + right, 0), size)
            for down, right in _WINDOW
        ]
        return self.dense(jnp.concatenate(seen, -1)[:, 0, 0]), memory


class Block(nn.Module):
    """Gated residual layers, then attention (figure 2).

    Attributes:
      features: F.
      residuals: gated layers.
      heads: of the attention.
      shape: [H, W].
      dropout: within the gated layers, in training.
      dtype: of the arithmetic.
    """

    features: int
    residuals: int
    heads: int
    shape: tuple[int, int]
    dropout: float = 0.0
    dtype: str = "float32"

    def setup(self):
        size = self.features

        def conv(features):
            return CausalConv(features, size, self.shape, self.dtype)

        self.first = [conv(size) for _ in range(self.residuals)]
        self.second = [conv(2 * size) for _ in range(self.residuals)]
        self.norm = nn.LayerNorm(use_bias=False, dtype=self.dtype)
        window = self.shape[0] * self.shape[1]
        self.attention = SelfAttention(size, self.heads, window, self.dtype)

    def __call__(self, h: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """[B, T, F] -> [B, T, F]."""
        for index, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            inner = elu(first(elu(h)))
            inner = dropout(inner, self.dropout, keys, f"{self.name}/{index}")
            a, b = jnp.split(second(inner), 2, -1)
            h += a * nn.sigmoid(b)
        return h + self.attention(self.norm(h))

    def start(self, num: int) -> Any:
        """See `family.Cached`."""
        convs = [[conv.start(num) for conv in convs] for convs in (self.first, self.second)]
        return convs, self.attention.start(num)

    def step(self, h: jax.Array, memory: Any, number: jax.Array) -> tuple[jax.Array, Any]:
        """A pixel [B, F] -> [B, F]."""
        (firsts, seconds), attended = memory
        after = ([], [])
        for first, second, *own in zip(self.first, self.second, firsts, seconds, strict=True):
            inner, one = first.step(elu(h), own[0], number)
            gated, two = second.step(elu(inner), own[1], number)
            a, b = jnp.split(gated, 2, -1)
            h += a * nn.sigmoid(b)
            after[0].append(one)
            after[1].append(two)
        read, attended = self.attention.step(self.norm(h), attended, number)
        return h + read, (list(after), attended)


class PixelSNAIL(nn.Module):
    """Blocks of causal convolutions and attention over the pixels of an image of one channel.

    Attributes:
      element: shape of an element.
      reader: of the pixels; its features are those of all layers.
      output: of the parameters.
      shape: [H, W].
      blocks: how many.
      residuals: gated layers of each.
      heads: of attention.
      dropout: in training.
      dtype: of the arithmetic.
    """

    element: tuple[int, ...]
    reader: Reader
    output: Head
    shape: tuple[int, int]
    blocks: int
    residuals: int
    heads: int
    dropout: float = 0.0
    dtype: str = "float32"
    reads_values: ClassVar[bool] = True

    def setup(self):
        features = self.reader.features
        self.parts = [
            Block(features, self.residuals, self.heads, self.shape, self.dropout, self.dtype)
            for _ in range(self.blocks)
        ]

    def __call__(self, x, place, context, keys=None) -> jax.Array:
        """See `family.Network`."""
        elements = x.reshape(len(x), -1, *self.element)
        h = self.reader(elements, context)
        for part in self.parts:
            h = part(h, keys)
        return self.output(elu(h), elements)

    def start(self, num: int) -> Any:
        """See `family.Cached`."""
        return [part.start(num) for part in self.parts]

    def step(self, memory, number, before, context) -> tuple[jax.Array, Any]:
        """See `family.Cached`."""
        h, after = self.reader.step(before, number, context), []
        for part, own in zip(self.parts, memory, strict=True):
            h, own = part.step(h, own, number)
            after.append(own)
        return elu(h), after

    def head(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """See `family.Cached`."""
        return self.output(features, element)
