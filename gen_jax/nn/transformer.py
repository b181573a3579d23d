"""A causal transformer over the elements of an example: pixels, characters, frames."""

from typing import Any, ClassVar

import flax.linen as nn
import jax

from gen_jax.nn.attention import Block, dropout
from gen_jax.nn.sequence import Head, Reader


class Transformer(nn.Module):
    """Pre-norm blocks with rotary embeddings, and with vectors of the places of an image.

    Vaswani et al. 2017 (arXiv 1706.03762); of pixels, Chen et al. 2020 (Image GPT).

    Attributes:
      element: shape of an element.
      reader: of the elements; its features are those of all layers.
      output: of the parameters.
      layers: blocks.
      heads: of attention.
      window: elements that attention sees, the own one included.
      dropout: in training.
      dtype: of the arithmetic.
    """

    element: tuple[int, ...]
    reader: Reader
    output: Head
    layers: int
    heads: int
    window: int
    dropout: float = 0.0
    dtype: str = "float32"
    reads_values: ClassVar[bool] = True

    def setup(self):
        self.blocks = [
            Block(self.reader.features, self.heads, self.window, self.dropout, self.dtype)
            for _ in range(self.layers)
        ]
        self.norm = nn.LayerNorm(use_bias=False, dtype=self.dtype)

    def __call__(self, x, place, context, keys=None) -> jax.Array:
        """See `families.autoregressive.family.Network`."""
        elements = x.reshape(len(x), -1, *self.element)
        h = dropout(self.reader(elements, context), self.dropout, keys, "embedding")
        for block in self.blocks:
            h = block(h, keys)
        return self.output(self.norm(h), elements)

    def start(self, num: int) -> Any:
        """See `families.autoregressive.family.Cached`."""
        return [block.start(num) for block in self.blocks]

    def step(self, memory, number, before, context) -> tuple[jax.Array, Any]:
        """See `families.autoregressive.family.Cached`."""
        h, after = self.reader.step(before, number, context), []
        for block, own in zip(self.blocks, memory, strict=True):
            h, own = block.step(h, own, number)
            after.append(own)
        return self.norm(h), after

    def head(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """See `families.autoregressive.family.Cached`."""
        return self.output(features, element)
