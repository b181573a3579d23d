"""Encoder and decoder: linen modules whose sizes come from the data."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.data.spec import DataSpec
from gen_jax.nn.conv import Conv, ConvTranspose

ACTIVATIONS = {"tanh": jnp.tanh, "relu": nn.relu, "gelu": nn.gelu, "silu": nn.silu}

_glorot = nn.initializers.glorot_uniform()


class MLPEncoder(nn.Module):
    """x [B, *shape] and its label, one-hot [B, C] -> features [B, hidden[-1]]."""

    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array) -> jax.Array:
        h = jnp.concatenate([x.reshape(len(x), -1), label], -1)
        for width in self.hidden:
            dense = nn.Dense(width, kernel_init=_glorot, dtype=self.dtype)
            h = ACTIVATIONS[self.activation](dense(h))
        return h


class MLPDecoder(nn.Module):
    """z [N, latent_dim + C] -> raw outputs [N, *shape, num_params]."""

    shape: tuple[int, ...]
    num_params: int
    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        h = z
        for width in self.hidden[::-1]:
            dense = nn.Dense(width, kernel_init=_glorot, dtype=self.dtype)
            h = ACTIVATIONS[self.activation](dense(h))
        size = math.prod(self.shape) * self.num_params
        h = nn.Dense(size, kernel_init=_glorot, dtype=self.dtype, name="output")(h)
        return h.reshape(-1, *self.shape, self.num_params)


class ConvEncoder(nn.Module):
    """Stride-2 4x4 convolutions, one for each width; the label joins as constant channels."""

    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array) -> jax.Array:
        planes = jnp.broadcast_to(label[:, None, None], (*x.shape[:3], label.shape[-1]))
        h = jnp.concatenate([x, planes], -1)
        for width in self.hidden:
            h = Conv(width, (4, 4), (2, 2), padding="SAME", dtype=self.dtype)(h)
            h = ACTIVATIONS[self.activation](h)
        return h.reshape(len(h), -1)


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`. Sizes that 2 does not divide are cropped back on the way."""

    shape: tuple[int, ...]
    num_params: int
    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        height, width, channels = self.shape
        sizes = [(height, width)]
        for _ in self.hidden:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        act = ACTIVATIONS[self.activation]
        bottom = (*sizes.pop(), self.hidden[-1])
        h = nn.Dense(math.prod(bottom), dtype=self.dtype)(z).reshape(-1, *bottom)
        outputs = [*self.hidden[:-1][::-1], channels * self.num_params]
        for index, features in enumerate(outputs):
            name = "output" if index == len(outputs) - 1 else None
            up = ConvTranspose(features, (4, 4), (2, 2), dtype=self.dtype, name=name)
            rows, columns = sizes.pop()
            h = up(act(h))[:, :rows, :columns]
        return h.reshape(-1, *self.shape, self.num_params)


NETWORKS = {"mlp": (MLPEncoder, MLPDecoder), "conv": (ConvEncoder, ConvDecoder)}


class VAENetwork(nn.Module):
    """Encoder to a diagonal Gaussian and decoder to the likelihood's parameters.

    Outputs are float32 whatever `dtype` is, as the losses are computed from them.

    Attributes:
      spec: the data.
      kind: "mlp" or "conv".
      hidden: widths from the data to the latents; the decoder mirrors them.
      latent_dim: L.
      num_params: outputs of the likelihood for each dimension of the data.
      num_classes: number of labels C that both are conditioned on; 0 for none.
      dtype: of the arithmetic; parameters are float32.
    """

    spec: DataSpec
    kind: str
    hidden: tuple[int, ...]
    activation: str
    latent_dim: int
    num_params: int
    num_classes: int
    dtype: str

    def setup(self):
        encoder, decoder = NETWORKS[self.kind]
        common = {"hidden": self.hidden, "activation": self.activation, "dtype": self.dtype}
        self.encoder = encoder(**common)
        self.posterior = nn.Dense(2 * self.latent_dim, kernel_init=_glorot, dtype=self.dtype)
        self.decoder = decoder(shape=self.spec.shape, num_params=self.num_params, **common)

    def __call__(self, x: jax.Array, label: jax.Array) -> jax.Array:
        mean, _ = self.encode(x, label)
        return self.decode(mean, label)

    def encode(self, x: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [B, *shape] in model units, label [B] -> mean and log variance [B, L]."""
        h = self.encoder(self.spec.center(x), self._one_hot(label))
        mean, log_sigma = jnp.split(self.posterior(h).astype(jnp.float32), 2, -1)
        return mean, 2 * log_sigma

    def decode(self, z: jax.Array, label: jax.Array) -> jax.Array:
        """z [..., L], label [...] -> the likelihood's parameters [..., *shape, num_params]."""
        flat = jnp.concatenate([z, self._one_hot(label)], -1)
        out = self.decoder(flat.reshape(-1, flat.shape[-1])).astype(jnp.float32)
        return out.reshape(*z.shape[:-1], *out.shape[1:])

    def _one_hot(self, label: jax.Array) -> jax.Array:
        return jax.nn.one_hot(label, self.num_classes)
