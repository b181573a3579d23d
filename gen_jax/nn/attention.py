"""Self-attention, over a whole sequence or one element at a time from what is remembered."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.nn.dense import Dense

Memory = tuple[jax.Array, jax.Array]  # keys and values of the last elements, [B, W, H, D / H]


def rotate(x: jax.Array, place: jax.Array, base: float = 10_000.0) -> jax.Array:
    """Rotary embedding: x [..., H, D], turned by angles that grow with its place [...].

    The product of two such vectors depends on the difference of their places alone: Su et al. 2021
    (arXiv 2104.09864), equation 15, with the two halves of a vector as the pairs' coordinates.
    """
    half = x.shape[-1] // 2
    angle = place[..., None, None] * base ** (-jnp.arange(half) / half)
    a, b = jnp.split(x, 2, -1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def dropout(h: jax.Array, rate: float, keys: jax.Array | None, name: str) -> jax.Array:
    """h [B, ...] with a share of its numbers at 0; each example by its own key of `keys` [B]."""
    if keys is None or rate == 0:
        return h
    kept = keys_lib.bernoulli(keys_lib.named(keys, name), jnp.full(h.shape, 1 - rate))
    return h * kept / (1 - rate)


class SelfAttention(nn.Module):
    """Each element looks at itself and at those before it, as far back as the window reaches.

    Attributes:
      features: D.
      heads: H, which divides D into even parts.
      window: W, elements that are seen, the own one included; None: all, those behind it too.
      dtype: of the arithmetic.
    """

    features: int
    heads: int
    window: int | None
    dtype: str = "float32"

    def setup(self):
        self.inputs = Dense(3 * self.features, use_bias=False, dtype=self.dtype)
        self.outputs = Dense(self.features, use_bias=False, dtype=self.dtype)

    def _project(self, h: jax.Array, place: jax.Array) -> tuple[jax.Array, ...]:
        """h [..., D] -> queries, keys and values [..., H, D / H]."""
        parts = jnp.split(self.inputs(h), 3, -1)
        q, k, v = (p.reshape(*h.shape[:-1], self.heads, -1) for p in parts)
        return rotate(q, place) * q.shape[-1] ** -0.5, rotate(k, place), v

    def __call__(self, h: jax.Array) -> jax.Array:
        """h [B, T, D] -> [B, T, D]."""
        place = jnp.arange(h.shape[1])
        q, k, v = self._project(h, place)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k).astype(jnp.float32)
        if self.window is not None:
            ago = place[:, None] - place
            scores = jnp.where((ago >= 0) & (ago < self.window), scores, -jnp.inf)
        weights = jax.nn.softmax(scores, -1)
        read = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(h.dtype), v)
        return self.outputs(read.reshape(h.shape))

    def start(self, num: int) -> Memory:
        """The memory of `num` sequences of which nothing is there yet."""
        shape = (num, self.window, self.heads, self.features // self.heads)
        return jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype)

    def step(self, h: jax.Array, memory: Memory, number: jax.Array) -> tuple[jax.Array, Memory]:
        """The element of that number, h [B, D] -> [B, D], and the memory with it."""
        q, k, v = self._project(h, number)
        # The memory is a ring: an element takes the place of the one that is out of sight.
        slot = number % self.window
        keys, values = (
            jax.lax.dynamic_update_index_in_dim(all_, new, slot, 1)
            for all_, new in zip(memory, (k, v), strict=True)
        )
        filled = jnp.arange(self.window) <= number
        scores = jnp.einsum("bhd,bkhd->bhk", q, keys).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(filled, scores, -jnp.inf), -1)
        read = jnp.einsum("bhk,bkhd->bhd", weights.astype(h.dtype), values)
        return self.outputs(read.reshape(h.shape)), (keys, values)


class Block(nn.Module):
    """A block of a pre-norm transformer: attention, then a perceptron, each added to its input.

    Radford et al. 2019 (GPT-2), with GELU and without biases, which nanoGPT leaves out too.

    Attributes:
      features: D.
      heads: H.
      window: see `SelfAttention`.
      dropout: share of each part's output that is withheld in training.
      dtype: of the arithmetic.
    """

    features: int
    heads: int
    window: int
    dropout: float = 0.0
    dtype: str = "float32"

    def setup(self):
        self.attention_norm = nn.LayerNorm(use_bias=False, dtype=self.dtype)
        self.attention = SelfAttention(self.features, self.heads, self.window, self.dtype)
        self.norm = nn.LayerNorm(use_bias=False, dtype=self.dtype)
        self.up = Dense(4 * self.features, use_bias=False, dtype=self.dtype)
        self.down = Dense(self.features, use_bias=False, dtype=self.dtype)

    def _perceptron(self, h: jax.Array) -> jax.Array:
        return self.down(nn.gelu(self.up(self.norm(h))))

    def __call__(self, h: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """h [B, T, D] -> [B, T, D]; `keys` [B] of the dropout."""
        name = self.name or ""
        h += dropout(self.attention(self.attention_norm(h)), self.dropout, keys, f"{name}/a")
        return h + dropout(self._perceptron(h), self.dropout, keys, f"{name}/b")

    def start(self, num: int) -> Memory:
        """See `SelfAttention.start`."""
        return self.attention.start(num)

    def step(self, h: jax.Array, memory: Memory, number: jax.Array) -> tuple[jax.Array, Memory]:
        """See `SelfAttention.step`."""
        read, memory = self.attention.step(self.attention_norm(h), memory, number)
        h += read
        return h + self._perceptron(h), memory
