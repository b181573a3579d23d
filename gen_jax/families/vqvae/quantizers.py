"""The two quantisers behind one interface, which `VQVAE` calls."""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.families.base import Extra
from gen_jax.families.vqvae import quantize


class Quantizer(Protocol):
    """Vectors to codes.

    Attributes:
      code_dim: D, dimensions of a vector.
      codebook_size: K, number of codes.
    """

    code_dim: int
    codebook_size: int

    def init(self, key: jax.Array, z: jax.Array) -> Extra:
        """What it learns without gradients, from encoder outputs z [N, D]."""

    def codes(self, extra: Extra, z: jax.Array) -> jax.Array:
        """z [..., D] -> the numbers of their codes, int32 [...]."""

    def quantize(self, extra: Extra, z: jax.Array) -> jax.Array:
        """z [..., D] -> the codes' vectors [..., D], with straight-through gradients."""

    def learn(
        self, extra: Extra, z: jax.Array, codes: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, Extra, dict[str, jax.Array]]:
        """A step on z [B, ..., D] with codes [B, ...] and keys [B]: penalty, extra, metrics.

        The penalty is a mean over the batch. The statistics are those of the global batch.
        """


@dataclasses.dataclass(frozen=True)
class VectorQuantizer:
    """The nearest code of a codebook that follows the encoder (arXiv 1711.00937).

    Attributes:
      codebook_size: K.
      code_dim: D.
      decay: of the codebook's moving averages, a step.
      commitment: weight of the squared distance from the encoder's output to its code, summed
        over an example (equation 3 has its mean over the grid's positions), as the log-likelihood
        is summed over its pixels.
      restart_threshold: see `quantize.restart_dead`; 0 restarts none.
    """

    codebook_size: int
    code_dim: int
    decay: float
    commitment: float
    restart_threshold: float

    def init(self, key, z):
        return {"codebook": quantize.initial_codebook(key, z, self.codebook_size)}

    def codes(self, extra, z):
        vectors = quantize.code_vectors(extra["codebook"])
        return quantize.nearest(z.reshape(-1, self.code_dim), vectors).reshape(z.shape[:-1])

    def quantize(self, extra, z):
        vectors = quantize.code_vectors(extra["codebook"])
        return quantize.straight_through(z, vectors[self.codes(extra, z)])

    def learn(self, extra, z, codes, keys):
        code = quantize.code_vectors(extra["codebook"])[codes]
        distance = jnp.square(z - code).reshape(len(z), -1).sum(-1).mean()
        z = jax.lax.stop_gradient(z)
        scores = keys_lib.uniform(keys_lib.named(keys, "restart"), codes.shape[1:]).reshape(-1)
        rows = z.reshape(-1, self.code_dim)
        codebook = quantize.update_codebook(extra["codebook"], rows, codes.reshape(-1), self.decay)
        codebook, moved = quantize.restart_dead(codebook, rows, scores, self.restart_threshold)
        metrics = {"commitment": distance, "restarted": moved}
        return self.commitment * distance, {"codebook": codebook}, metrics


@dataclasses.dataclass(frozen=True)
class ScalarQuantizer:
    """Each dimension rounded to one of a few levels (arXiv 2309.15505); nothing is learned.

    Attributes:
      levels: of each dimension; the codes are all their combinations.
    """

    levels: tuple[int, ...]

    @property
    def code_dim(self) -> int:
        return len(self.levels)

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    def init(self, key, z):
        return {}

    def codes(self, extra, z):
        return quantize.fsq_index(self.quantize(extra, z), self.levels)

    def quantize(self, extra, z):
        return quantize.fsq_quantize(z, self.levels)

    def learn(self, extra, z, codes, keys):
        return jnp.zeros(()), extra, {}
