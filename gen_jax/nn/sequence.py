"""What networks of sequences have in common: how elements are read, and how they are shifted.

The features of an element come from the elements before it: a sequence is moved by one, so that
each place holds what was before it, and the first a parameter that says that nothing was.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.dense import Dense
from gen_jax.nn.masked import MaskedDense, masks


class Reader(nn.Module):
    """Elements and what is given -> the input of each place, from the element before it.

    Attributes:
      features: F.
      values: how many an element may have, each of which gets a vector of its own; 0: elements are
        vectors of numbers.
      positions: sizes of the axes along which elements lie, of which each place gets vectors, as
        (28, 28, 1) of an image; () for sequences, which may be of any length.
      dtype: of the arithmetic.
    """

    features: int
    values: int
    positions: tuple[int, ...] = ()
    dtype: str = "float32"

    def setup(self):
        small = nn.initializers.normal(0.02)
        if self.values:
            self.embedding = nn.Embed(
                self.values, self.features, embedding_init=small, dtype=self.dtype
            )
        else:
            self.embedding = Dense(self.features, dtype=self.dtype)
        self.first = self.param("first", small, (self.features,))
        self.of_axis = [
            self.param(f"axis_{axis}", small, (size, self.features))
            for axis, size in enumerate(self.positions)
        ]
        self.context = Dense(
            self.features, use_bias=False, dtype=self.dtype, kernel_init=small, name="given"
        )

    def _embed(self, elements: jax.Array) -> jax.Array:
        if self.values:
            return self.embedding(elements[..., 0].astype(jnp.int32))
        return self.embedding(elements)

    def _add(self, h: jax.Array, number: jax.Array, context: jax.Array | None) -> jax.Array:
        """h [B, F], or [B, T, F] with numbers [T], and what is known of the place."""
        if self.positions:
            places = jnp.unravel_index(number, self.positions)
            h += sum(table[place] for table, place in zip(self.of_axis, places, strict=True))
        if context is not None:
            given = self.context(context)
            h += given if h.ndim == 2 else given[:, None]
        return h

    def __call__(self, elements: jax.Array, context: jax.Array | None) -> jax.Array:
        """Elements [B, T, *element] -> [B, T, F]."""
        before = self._embed(elements[:, :-1])
        first = jnp.broadcast_to(self.first.astype(before.dtype), (len(before), 1, self.features))
        number = jnp.arange(elements.shape[1])
        return self._add(jnp.concatenate([first, before], 1), number, context)

    def step(self, before: jax.Array, number: jax.Array, context: jax.Array | None) -> jax.Array:
        """The element before the one of that number, [B, *element] -> [B, F]."""
        h = jnp.where(number == 0, self.first, self._embed(before))
        return self._add(h, number, context)


class Head(nn.Module):
    """Features -> the parameters of an element's dimensions.

    Attributes:
      element: shape of an element, [C].
      num_params: P, of each dimension.
      hidden: of a joint head the width of its layer; 0: the dimensions are independent, given the
        features. A joint head is a MADE over the dimensions of the element, whose layer is given
        the features (Boulanger-Lewandowski et al. 2012, arXiv 1206.6392, section 4, has a NADE).
      starts_at_zero: whether, without a hidden layer, parameters are 0 before training.
      dtype: of the arithmetic.
    """

    element: tuple[int, ...]
    num_params: int
    hidden: int = 0
    starts_at_zero: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """Features [..., F] and the element itself [..., C] -> [..., C, P]."""
        (size,) = self.element
        if not self.hidden:
            init = nn.initializers.zeros if self.starts_at_zero else nn.initializers.lecun_normal()
            size_of_all = size * self.num_params
            output = Dense(size_of_all, dtype=self.dtype, kernel_init=init, name="output")
            outputs = output(features)
            return outputs.reshape(*features.shape[:-1], size, self.num_params)
        inner, outer = masks(size, (self.hidden,))
        h = MaskedDense(self.hidden, self.dtype, name="hidden")(element, inner)
        h = nn.relu(h + Dense(self.hidden, dtype=self.dtype, name="features")(features))
        repeated = jnp.repeat(outer, self.num_params, 1)
        outputs = MaskedDense(size * self.num_params, self.dtype, name="output")(h, repeated)
        # The last features reach every key directly too.
        outputs += Dense(size * self.num_params, dtype=self.dtype, name="direct")(features)
        return outputs.reshape(*features.shape[:-1], size, self.num_params)
