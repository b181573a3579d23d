"""Normalizing flows: p(x) by a change of variables, exactly, and samples in one pass."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families.base import Extra, LogProb, Options, Params
from gen_jax.likelihoods import DiagonalGaussian, softplus
from gen_jax.nn.bijections import Bijection


def _normal(z: jax.Array) -> jax.Array:
    return -0.5 * (jnp.square(z) + math.log(2 * math.pi)).sum(1)


def _logistic(z: jax.Array) -> jax.Array:
    return -(softplus(z) + softplus(-z)).sum(1)


# Of latents [B, D]: the density in nats, [B], and a draw of a number by uniform noise.
BASES = {
    "normal": (_normal, jax.scipy.special.ndtri),
    "logistic": (_logistic, lambda u: jnp.log(u) - jnp.log1p(-u)),
}


@dataclasses.dataclass(frozen=True)
class Flow:
    """x = f(z) with independent z: log p(x) = log p(z) + ln |det dz/dx|.

    Attributes:
      spec: the data.
      bijection: from x in model units to latents [B, D].
      base: a key of `BASES`, the density of each latent.
      given: what it is conditioned on: ("label",) or ().
    """

    spec: DataSpec
    bijection: Bijection
    base: str = "normal"
    given: tuple[str, ...] = ()

    turns = (("flow",),)

    @property
    def latent_dim(self) -> int:
        """As many as x has dimensions."""
        return self.spec.num_dims

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        return {"flow": self.bijection.init(key, batch["x"], self._context(batch))}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        nll = -(self._log_prob(params, batch) + self.spec.log_volume)
        return {"flow": nll.mean() / self.spec.num_dims}, extra, {"nll": nll.mean()}

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """The log of the density of x in model units, exactly."""
        return LogProb(self._log_prob(params, batch))

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One x for each key; the temperature is a factor of z."""
        # Not 0, where the logistic's quantile is not finite.
        noise = jnp.maximum(keys_lib.uniform(keys_lib.named(keys, "z"), (self.latent_dim,)), 1e-7)
        z = BASES[self.base][1](noise) * options["temperature"]
        return self.decode(params, extra, z, condition)

    def encode(self, params: Params, extra: Extra, batch: Batch) -> DiagonalGaussian:
        """The latents of x: all of q(z|x) is there."""
        z, _ = self.bijection.forward(params["flow"], batch["x"], self._context(batch))
        return DiagonalGaussian(z, jnp.full_like(z, -jnp.inf))

    def sample_posterior(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> jax.Array:
        return self.encode(params, extra, batch).mean

    def decode(self, params: Params, extra: Extra, z: jax.Array, condition: Batch) -> jax.Array:
        """The x of latents [N, D]; dequantised data stay in [0, 1)."""
        x, _ = self.bijection.inverse(params["flow"], z, self._context(condition, len(z)))
        return jnp.clip(x, 0, 1 - 1e-6) if self.spec.is_dequantized else x

    def _context(self, batch: Batch, num: int = 0) -> jax.Array | None:
        """What the flow is given, [B, N], or None."""
        if not self.given:
            return None
        label = batch.get("label")
        label = jnp.zeros(num, jnp.int32) if label is None else label
        return jax.nn.one_hot(label, self.spec.num_classes)

    def _log_prob(self, params: Params, batch: Batch) -> jax.Array:
        z, log_det = self.bijection.forward(params["flow"], batch["x"], self._context(batch))
        return BASES[self.base][0](z) + log_det
