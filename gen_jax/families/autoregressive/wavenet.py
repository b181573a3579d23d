"""WaveNet: dilated causal convolutions over a sequence.

van den Oord et al. 2016 (arXiv 1609.03499).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.dense import Dense
from gen_jax.nn.sequence import Head, Reader


class Layer(nn.Module):
    """A gated layer that looks at an element and at the one `dilation` before it (section 2.3).

    Attributes:
      features: R, of the residual stream.
      skip: S, of what goes to the output.
      dilation: how far back it looks.
      dtype: of the arithmetic.
    """

    features: int
    skip: int
    dilation: int
    dtype: str = "float32"

    def setup(self):
        dense = lambda width, bias=True: Dense(width, use_bias=bias, dtype=self.dtype)  # noqa: E731
        self.now, self.then = dense(2 * self.features), dense(2 * self.features, False)
        self.given = dense(2 * self.features, False)
        self.residual, self.out = dense(self.features), dense(self.skip)

    def _outputs(self, h, then, given):
        a, b = jnp.split(self.now(h) + self.then(then) + given, 2, -1)
        gated = jnp.tanh(a) * nn.sigmoid(b)
        return h + self.residual(gated), self.out(gated)

    def __call__(self, h: jax.Array, context: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """h [B, T, R] -> the stream [B, T, R], and the skip [B, T, S]."""
        then = jnp.pad(h, ((0, 0), (self.dilation, 0), (0, 0)))[:, : h.shape[1]]
        return self._outputs(h, then, 0 if context is None else self.given(context)[:, None])

    def step(self, h, memory, number, context):
        """One element h [B, R]; the memory is a queue [B, dilation, R]."""
        slot = number % self.dilation
        then = jax.lax.dynamic_index_in_dim(memory, slot, 1, keepdims=False)
        memory = jax.lax.dynamic_update_index_in_dim(memory, h, slot, 1)
        given = 0 if context is None else self.given(context)
        return *self._outputs(h, then, given), memory


class WaveNet(nn.Module):
    """Gated residual layers whose skips make the parameters of the next element.

    Attributes:
      element: shape of an element.
      reader: of the elements; its features are R.
      output: of the parameters.
      skip: S, of the skips and of the layer before the output.
      dilations: of each layer, as (1, 2, 4, ..., 512) several times.
      dtype: of the arithmetic.
    """

    element: tuple[int, ...]
    reader: Reader
    output: Head
    skip: int
    dilations: tuple[int, ...]
    dtype: str = "float32"
    reads_values: ClassVar[bool] = True

    def setup(self):
        features = self.reader.features
        self.layers = [Layer(features, self.skip, d, self.dtype) for d in self.dilations]
        self.hidden = Dense(self.skip, dtype=self.dtype)

    def __call__(self, x, place, context, keys=None) -> jax.Array:
        """See `family.Network`."""
        elements = x.reshape(len(x), -1, *self.element)
        h, total = self.reader(elements, context), 0
        for layer in self.layers:
            h, skip = layer(h, context)
            total += skip
        return self.output(self._features(total), elements)

    def _features(self, total: jax.Array) -> jax.Array:
        return nn.relu(self.hidden(nn.relu(total)))

    def start(self, num: int) -> Any:
        """See `family.Cached`."""
        return [jnp.zeros((num, d, self.reader.features), self.dtype) for d in self.dilations]

    def step(self, memory, number, before, context) -> tuple[jax.Array, Any]:
        """See `family.Cached`."""
        h, total, after = self.reader.step(before, number, context), 0, []
        for layer, own in zip(self.layers, memory, strict=True):
            h, skip, own = layer.step(h, own, number, context)
            total += skip
            after.append(own)
        return self._features(total), after

    def head(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """See `family.Cached`."""
        return self.output(features, element)
