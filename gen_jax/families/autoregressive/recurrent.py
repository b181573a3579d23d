"""A recurrent network over the elements of a sequence: what it remembers is its state."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.attention import dropout
from gen_jax.nn.sequence import Head, Reader

CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


class Recurrent(nn.Module):
    """Layers of LSTM or GRU cells, by `lax.scan` over the elements.

    Attributes:
      element: shape of an element.
      reader: of the elements; its features are those of all layers.
      output: of the parameters.
      cell: a key of `CELLS`.
      layers: of cells.
      dropout: between the layers, in training.
      dtype: of the arithmetic.
    """

    element: tuple[int, ...]
    reader: Reader
    output: Head
    cell: str
    layers: int
    dropout: float = 0.0
    dtype: str = "float32"
    reads_values: ClassVar[bool] = True

    def setup(self):
        kind, features = CELLS[self.cell], self.reader.features
        self.cells = [kind(features, dtype=self.dtype) for _ in range(self.layers)]
        self.scans = [nn.RNN(cell) for cell in self.cells]

    def __call__(self, x, place, context, keys=None) -> jax.Array:
        """See `family.Network`."""
        elements = x.reshape(len(x), -1, *self.element)
        h = dropout(self.reader(elements, context), self.dropout, keys, "embedding")
        for index, scan in enumerate(self.scans):
            h = dropout(scan(h), self.dropout, keys, f"layer_{index}")
        return self.output(h, elements)

    def start(self, num: int) -> Any:
        """See `family.Cached`. States start at 0."""
        shape, key = (num, self.reader.features), jax.random.key(0)
        return [
            jax.tree.map(jnp.zeros_like, cell.initialize_carry(key, shape)) for cell in self.cells
        ]

    def step(self, memory, number, before, context) -> tuple[jax.Array, Any]:
        """See `family.Cached`."""
        h, after = self.reader.step(before, number, context), []
        for cell, own in zip(self.cells, memory, strict=True):
            own, h = cell(own, h)
            after.append(own)
        return h, after

    def head(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """See `family.Cached`."""
        return self.output(features, element)
