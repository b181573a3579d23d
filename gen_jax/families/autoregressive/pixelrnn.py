"""PixelRNN: LSTMs whose state goes over an image row by row, or diagonal by diagonal.

van den Oord, Kalchbrenner and Kavukcuoglu 2016 (arXiv 1601.06759).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.conv import Conv
from gen_jax.nn.dense import Dense

State = tuple[jax.Array, jax.Array]  # of an LSTM: its memory and its output, [..., F]


def _update(gates: jax.Array, memory: jax.Array) -> State:
    """An LSTM's state after the sums [..., 4 F] of what comes in (equation 3)."""
    out, forget, take, new = jnp.split(gates, 4, -1)
    memory = nn.sigmoid(forget + 1) * memory + nn.sigmoid(take) * jnp.tanh(new)
    return memory, nn.sigmoid(out) * jnp.tanh(memory)


def _put(row: State, state: State, column: jax.Array) -> State:
    """A row [B, W, F] with the state [B, F] at a column."""
    return jax.tree.map(
        lambda old, new: jax.lax.dynamic_update_index_in_dim(old, new, column, 1), row, state
    )


class RowLSTM(nn.Module):
    """A layer whose state is convolved with the row above (section 3.1).

    A pixel's input is its own and that of the one to the left of it, and its state that of the
    three pixels above.

    Attributes:
      features: F, of the input and of the state.
      shape: [H, W].
      dtype: of the arithmetic.
    """

    features: int
    shape: tuple[int, int]
    dtype: str = "float32"

    def setup(self):
        size, init = self.features, nn.initializers.lecun_normal()
        self.inputs = Dense(4 * size, dtype=self.dtype)
        self.kernel = self.param("kernel", init, (3 * size, 4 * size))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, F] -> [B, H, W, F]."""
        left = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        gates = self.inputs(jnp.concatenate([left, x], -1))
        kernel, width = self.kernel.astype(self.dtype), self.shape[1]

        def row(state: State, gates: jax.Array) -> tuple[State, jax.Array]:
            memory, output = state
            padded = jnp.pad(output, ((0, 0), (1, 1), (0, 0)))
            above = jnp.concatenate([padded[:, i : i + width] for i in range(3)], -1)
            state = _update(gates + above @ kernel, memory)
            return state, state[1]

        empty = self.start(len(x))[0]
        _, rows = jax.lax.scan(row, empty, jnp.moveaxis(gates, 1, 0))
        return jnp.moveaxis(rows, 0, 1)

    def start(self, num: int) -> Any:
        """The states of the row above and of this one, and the input to the left."""
        row = jnp.zeros((num, self.shape[1], self.features), self.dtype)
        return (row, row), (row, row), row[:, 0]

    def step(self, x: jax.Array, memory: Any, number: jax.Array) -> tuple[jax.Array, Any]:
        """A pixel [B, F] -> [B, F]."""
        above, own, left = memory
        column = number % self.shape[1]
        begins = column == 0
        above = jax.tree.map(lambda a, o: jnp.where(begins, o, a), above, own)
        left = jnp.where(begins, jnp.zeros_like(left), left)
        padded = jnp.pad(above[1], ((0, 0), (1, 1), (0, 0)))
        three = jax.lax.dynamic_slice_in_dim(padded, column, 3, 1).reshape(len(x), -1)
        before = jax.lax.dynamic_index_in_dim(above[0], column, 1, keepdims=False)
        gates = self.inputs(jnp.concatenate([left, x], -1)) + three @ self.kernel.astype(x.dtype)
        state = _update(gates, before)
        return state[1], (above, _put(own, state, column), x)


class DiagonalLSTM(nn.Module):
    """One direction of the diagonal BiLSTM: from the left and from above (section 3.2).

    Attributes:
      features: F, of the input and of the state.
      shape: [H, W].
      dtype: of the arithmetic.
    """

    features: int
    shape: tuple[int, int]
    dtype: str = "float32"

    def setup(self):
        size, init = self.features, nn.initializers.lecun_normal()
        self.inputs = Dense(4 * size, dtype=self.dtype)
        self.kernel = self.param("kernel", init, (2 * size, 4 * size))

    def _pixel(self, gates: jax.Array, left: State, above: jax.Array, kernel: jax.Array) -> State:
        return _update(gates + jnp.concatenate([left[1], above], -1) @ kernel, left[0])

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, F] -> [B, H, W, F].

        Rows are skewed, each a place further to the right than the one above it, so that what a
        diagonal needs is in the column before it.
        """
        height, width = self.shape
        gates, kernel = self.inputs(x), self.kernel.astype(self.dtype)
        rows = jnp.arange(height)

        def diagonal(state: State, place: jax.Array) -> tuple[State, jax.Array]:
            column = place - rows
            own = gates[:, rows, jnp.clip(column, 0, width - 1)]
            above = jnp.pad(state[1], ((0, 0), (1, 0), (0, 0)))[:, :-1]
            inside = ((column >= 0) & (column < width))[:, None]
            new = self._pixel(own, state, above, kernel)
            state = jax.tree.map(lambda part: jnp.where(inside, part, 0), new)
            return state, state[1]

        empty = jnp.zeros((len(x), height, self.features), self.dtype)
        places = jnp.arange(height + width - 1)
        _, skewed = jax.lax.scan(diagonal, (empty, empty), places)
        return jnp.moveaxis(skewed, 0, 2)[:, rows[:, None], rows[:, None] + jnp.arange(width)]

    def row(self, x: jax.Array, above: jax.Array) -> jax.Array:
        """A whole row [B, W, F] from the states of the row above -> its states [B, W, F]."""
        kernel = self.kernel.astype(self.dtype)

        def pixel(left: State, inputs: tuple) -> tuple[State, jax.Array]:
            state = self._pixel(*inputs[:1], left, inputs[1], kernel)
            return state, state[1]

        empty = jnp.zeros_like(x[:, 0])
        inputs = (jnp.moveaxis(self.inputs(x), 1, 0), jnp.moveaxis(above, 1, 0))
        _, row = jax.lax.scan(pixel, (empty, empty), inputs)
        return jnp.moveaxis(row, 0, 1)

    def pixel(self, x: jax.Array, left: State, above: jax.Array) -> State:
        """A pixel [B, F] from the states to the left and above."""
        return self._pixel(self.inputs(x), left, above, self.kernel.astype(self.dtype))


class DiagonalBiLSTM(nn.Module):
    """Both directions. What comes from the right is of the row above, so that it saw nothing new.

    Attributes: as of `DiagonalLSTM`.
    """

    features: int
    shape: tuple[int, int]
    dtype: str = "float32"

    def setup(self):
        self.from_left = DiagonalLSTM(self.features, self.shape, self.dtype)
        self.from_right = DiagonalLSTM(self.features, self.shape, self.dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, F] -> [B, H, W, F]."""
        right = self.from_right(x[:, :, ::-1])[:, :, ::-1]
        return self.from_left(x) + jnp.pad(right, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]

    def start(self, num: int) -> Any:
        """From the left: the outputs of the row above and of this one, and the state to the left.
        From the right: the outputs of the row above. Besides, the inputs of this row."""
        row = jnp.zeros((num, self.shape[1], self.features), self.dtype)
        return row, row, (row[:, 0], row[:, 0]), row, row

    def step(self, x: jax.Array, memory: Any, number: jax.Array) -> tuple[jax.Array, Any]:
        """A pixel [B, F] -> [B, F]."""
        above, own, left, right, inputs = memory
        column = number % self.shape[1]
        begins = column == 0
        above = jnp.where(begins, own, above)
        left = jax.tree.map(lambda part: jnp.where(begins, jnp.zeros_like(part), part), left)
        # Where a row begins the one before it is whole, and has been seen from the right too.
        right = jax.lax.cond(
            begins & (number > 0),
            lambda: self.from_right.row(inputs[:, ::-1], right[:, ::-1])[:, ::-1],
            lambda: right,
        )
        up, other = (
            jax.lax.dynamic_index_in_dim(row, column, 1, keepdims=False) for row in (above, right)
        )
        left = self.from_left.pixel(x, left, up)
        own, inputs = _put((own, inputs), (left[1], x), column)
        return left[1] + other, (above, own, left, right, inputs)


LAYERS = {"row_lstm": RowLSTM, "diagonal_bilstm": DiagonalBiLSTM}


class PixelRNN(nn.Module):
    """A window of the pixels before, then layers of LSTMs with residual connections (section 3.3).

    The channels of a pixel are independent, given the pixels before it.

    Attributes:
      shape: [H, W, C], of an image.
      features: F.
      layer: a key of `LAYERS`.
      layers: how many.
      num_params: P, of each channel.
      reach: rows above, and columns to each side, that the first window sees: 3 in the paper.
      dtype: of the arithmetic.
    """

    shape: tuple[int, int, int]
    features: int
    layer: str
    layers: int
    num_params: int
    reach: int = 3
    dtype: str = "float32"
    reads_values: ClassVar[bool] = False

    @property
    def element(self) -> tuple[int, ...]:
        """A pixel."""
        return self.shape[-1:]

    def setup(self):
        conv, side = LAYERS[self.layer], 2 * self.reach + 1

        def window(size):
            return Conv(self.features, size, padding="VALID", dtype=self.dtype)

        self.above, self.left = window((self.reach, side)), window((1, self.reach))
        self.given = Dense(self.features, use_bias=False, dtype=self.dtype)
        self.lstms = [conv(self.features, self.shape[:2], self.dtype) for _ in range(self.layers)]
        self.up = [Dense(self.features, dtype=self.dtype) for _ in range(self.layers)]
        self.hidden = Dense(self.features, dtype=self.dtype)
        self.output = Dense(self.shape[-1] * self.num_params, dtype=self.dtype)

    def _window(self, above: jax.Array, left: jax.Array, context: jax.Array | None) -> jax.Array:
        """Rows above with what is to their sides, and columns to the left -> features."""
        given = 0 if context is None else self.given(context)[:, None, None]
        return self.above(above) + self.left(left) + given

    def __call__(
        self,
        x: jax.Array,
        place: jax.Array,
        context: jax.Array | None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """See `family.Network`."""
        n = self.reach
        above = jnp.pad(x, ((0, 0), (n, 0), (n, n), (0, 0)))[:, :-1]
        left = jnp.pad(x, ((0, 0), (0, 0), (n, 0), (0, 0)))[:, :, :-1]
        h = self._window(above, left, context)
        for lstm, up in zip(self.lstms, self.up, strict=True):
            h += up(lstm(h))
        return self.head(h, x)

    def head(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """See `family.Cached`."""
        outputs = self.output(nn.relu(self.hidden(nn.relu(features))))
        return outputs.reshape(*features.shape[:-1], self.shape[-1], self.num_params)

    def start(self, num: int) -> Any:
        """See `family.Cached`: the image with zeros around it, and what each layer remembers."""
        height, width, channels = self.shape
        n = self.reach
        image = jnp.zeros((num, n + height, n + width + n, channels), self.dtype)
        return image, [lstm.start(num) for lstm in self.lstms]

    def step(self, memory, number, before, context) -> tuple[jax.Array, Any]:
        """See `family.Cached`."""
        image, states = memory
        n, width = self.reach, self.shape[1]
        last = number - 1
        at = (0, n + last // width, n + last % width, 0)
        written = jax.lax.dynamic_update_slice(image, before[:, None, None], at)
        image = jnp.where(number > 0, written, image)
        row, column, num = number // width, number % width, len(before)
        channels = self.shape[2]
        above = jax.lax.dynamic_slice(image, (0, row, column, 0), (num, n, 2 * n + 1, channels))
        left = jax.lax.dynamic_slice(image, (0, n + row, column, 0), (num, 1, n, channels))
        h, after = self._window(above, left, context)[:, 0, 0], []
        for lstm, up, state in zip(self.lstms, self.up, states, strict=True):
            new, state = lstm.step(h, state, number)
            h += up(new)
            after.append(state)
        return h, (image, after)
