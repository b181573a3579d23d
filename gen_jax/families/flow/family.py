"""Normalizing flows: p(x) by a change of variables, exactly, and samples in one pass."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families import conditions
from gen_jax.families.base import Extra, LogProb, LogWeights, Options, Params
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
      given: what it is conditioned on: ("label",), names in `spec.given`, or ().
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
        scales = {}
        if names := conditions.vector_names(self.given):
            scales["given"] = conditions.scales(batch, names)
        context = self._context({"flow": scales}, batch)
        return {"flow": {"bijection": self.bijection.init(key, batch["x"], context), **scales}}, {}

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
        z, _ = self._forward(params, batch)
        return DiagonalGaussian(z, jnp.full_like(z, -jnp.inf))

    def sample_posterior(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> jax.Array:
        return self.encode(params, extra, batch).mean

    def decode(self, params: Params, extra: Extra, z: jax.Array, condition: Batch) -> jax.Array:
        """The x of latents [N, D]; dequantised data stay in [0, 1)."""
        context = self._context(params, condition, len(z))
        x, _ = self.bijection.inverse(params["flow"]["bijection"], z, context)
        return jnp.clip(x, 0, 1 - 1e-6) if self.spec.is_dequantized else x

    def _context(self, params: Params, batch: Batch, num: int = 0) -> jax.Array | None:
        """What the flow is given, [B, N], or None.

        Vectors are standardised by the examples that the model was initialised with.
        """
        if not self.given:
            return None
        if "given" in params["flow"]:
            # What is set once gets no gradient, and so stays.
            scales = jax.lax.stop_gradient(params["flow"]["given"])
            return conditions.standardized(batch, self.given, scales)
        label = batch.get("label")
        label = jnp.zeros(num, jnp.int32) if label is None else label
        return conditions.one_hot(label, self.spec.num_classes)

    def _forward(self, params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        context = self._context(params, batch)
        return self.bijection.forward(params["flow"]["bijection"], batch["x"], context)

    def _log_prob(self, params: Params, batch: Batch) -> jax.Array:
        z, log_det = self._forward(params, batch)
        return BASES[self.base][0](z) + log_det


@dataclasses.dataclass(frozen=True)
class DequantizedFlow:
    """A flow of whole numbers k, which it makes real by noise: x = (k + u) / levels, u ~ q(u|k).

    Its likelihood has a bound, as that of a model whose latent is u: ln P(k) is at least
    E_q[ln p(x) - D ln levels - ln q(u|k)] (Ho et al. 2019, Flow++, arXiv 1902.00275, equation 4),
    and the mean of several such weights brings it closer. A uniform q has density 1.

    Attributes:
      spec: the data, of kind "bytes".
      flow: of x.
      noise: from u in (0, 1) to independent logistic numbers [B, D], given the picture; None for
        uniform noise.
    """

    spec: DataSpec
    flow: Flow
    noise: Bijection | None = None

    turns = (("flow",),)

    @property
    def given(self) -> tuple[str, ...]:
        return self.flow.given

    @property
    def latent_dim(self) -> int:
        return self.flow.latent_dim

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        half = batch | {"x": self._real(batch["x"], 0.5)}
        params = {"density": self.flow.init(key, half)[0]["flow"]}
        if self.noise is not None:
            u = jax.random.uniform(jax.random.fold_in(key, 1), batch["x"].shape)
            u = jnp.clip(u, 0.01, 0.99)
            own = jax.random.fold_in(key, 2)
            params["noise"] = self.noise.init(own, u, self._picture(batch["x"]))
        return {"flow": params}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        nll = -self.log_weights(params, extra, batch, keys, 1).log_w.mean()
        return {"flow": nll / self.spec.num_dims}, extra, {"nll": nll}

    def log_weights(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array, num_samples: int
    ) -> LogWeights:
        """Of the noise: ln p(x) - D ln levels, and -ln q(u|k)."""

        def one(number):
            u, log_q = self._draw(params, batch["x"], keys_lib.fold(keys, number))
            real = batch | {"x": self._real(batch["x"], u)}
            return self.flow.log_prob(self._of_flow(params), extra, real, keys).value, -log_q

        log_density, log_ratio = jax.lax.map(one, jnp.arange(num_samples))
        return LogWeights(log_density + self.flow.spec.log_volume, log_ratio[None])

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One picture for each key; the temperature is a factor of z."""
        real = self.flow.sample(self._of_flow(params), extra, keys, condition, options)
        return jnp.floor(real * self.spec.levels)

    def encode(self, params: Params, extra: Extra, batch: Batch) -> DiagonalGaussian:
        """The latents of the middle of each bin."""
        half = batch | {"x": self._real(batch["x"], 0.5)}
        return self.flow.encode(self._of_flow(params), extra, half)

    def sample_posterior(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> jax.Array:
        u, _ = self._draw(params, batch["x"], keys)
        real = batch | {"x": self._real(batch["x"], u)}
        return self.flow.encode(self._of_flow(params), extra, real).mean

    def decode(self, params: Params, extra: Extra, z: jax.Array, condition: Batch) -> jax.Array:
        """The picture in whose bin the x of latents [N, D] is."""
        real = self.flow.decode(self._of_flow(params), extra, z, condition)
        return jnp.floor(real * self.spec.levels)

    def _of_flow(self, params: Params) -> Params:
        return {"flow": params["flow"]["density"]}

    def _real(self, x: jax.Array, u: jax.Array | float) -> jax.Array:
        return (x + u) / self.spec.levels

    def _picture(self, x: jax.Array) -> jax.Array:
        """What the noise is given: the picture, or the vector, from -1 to 1."""
        return self.spec.center(x)

    def _draw(self, params: Params, x: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """u ~ q(u|k) [B, *shape], and ln q [B]."""
        noise = keys_lib.uniform(keys_lib.named(keys, "noise"), self.spec.shape)
        if self.noise is None:
            return noise, jnp.zeros(len(x))
        # As logistic numbers become uniform ones by a sigmoid, the noise begins as uniform.
        log_density, quantile = BASES["logistic"]
        z = quantile(jnp.clip(noise, 1e-6, 1 - 1e-6)).reshape(len(x), -1)
        u, log_det = self.noise.inverse(params["flow"]["noise"], z, self._picture(x))
        return u, log_density(z) - log_det
