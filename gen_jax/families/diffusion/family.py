"""Diffusion as a family: the loss, samples, and the density by the probability-flow ODE."""

import dataclasses
import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families import conditions
from gen_jax.families.base import Extra, LogProb, Options, Params
from gen_jax.families.diffusion.density import log_density, transport
from gen_jax.families.diffusion.process import Process
from gen_jax.families.diffusion.restoration import METHODS, Seen
from gen_jax.families.diffusion.samplers import (
    SAMPLERS,
    sampling_calls,
    with_own_steps,
    within_calls,
)
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.measurements import Measurement

WEIGHTINGS = ("simple", "elbo", "min_snr")
_FINE = 1_000  # steps of a ladder of which a part is taken
_MIN_SNR = 5.0  # gamma of Hang et al. 2023 (arXiv 2303.09556)


@dataclasses.dataclass(frozen=True)
class Diffusion:
    """A network that says what is behind noise of every level, and samplers that use it.

    Data are standardised: by one deviation, so that noise is as strong in every dimension, and by
    the mean, of vectors that of each dimension.

    Attributes:
      spec: the data, real numbers.
      network: `(z, l, context)` to the shape of z.
      process: the noise.
      weighting: simple: squared errors of what the network says (Ho et al. 2020, equation 14);
        elbo: of the noise, by -dl/dt / 2, which is the bound's (Kingma et al. 2021, equation 17);
        min_snr: of the data, by the smaller of the signal-to-noise ratio and 5.
      given: what it is conditioned on: ("label",), names in `spec.given`, or ().
      label_dropout: how often training leaves the label out, for guidance.
      ode_steps: of the density's ODE.
    """

    spec: DataSpec
    network: nn.Module
    process: Process
    weighting: str = "simple"
    given: tuple[str, ...] = ()
    label_dropout: float = 0.0
    ode_steps: int = 100

    turns = (("denoiser",),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        x = self.spec.center(batch["x"])
        mean = x.mean() if self.spec.is_image else x.mean(0)
        extra = {"mean": mean, "std": jnp.sqrt(jnp.square(x - mean).mean()) + 1e-6}
        if names := conditions.vector_names(self.given):
            extra["given"] = conditions.scales(batch, names)
        context = self._context(extra, batch)
        params = self.network.init(key, x, jnp.zeros(len(x)), context)["params"]
        return {"denoiser": params}, extra

    def losses(self, turn, params, extra, batch, keys, step):
        x = self.standardized(extra, batch["x"])
        t = keys_lib.uniform(keys_lib.named(keys, "t"))
        noise = keys_lib.normal(keys_lib.named(keys, "noise"), x.shape[1:])
        log_snr, rate = jax.jvp(self.process.log_snr, (t,), (jnp.ones_like(t),))
        alpha, sigma = self.process.scales(log_snr.reshape(-1, *[1] * (x.ndim - 1)))
        context = self._context(extra, batch, keys)
        said = self._ask(params, alpha * x + sigma * noise, log_snr, context)
        error = said - self.process.target(x, noise, log_snr)
        of_noise = self._mean(jnp.square(self.process.noise_error(error, log_snr)))
        if self.weighting == "simple":
            loss = self._mean(jnp.square(error))
        elif self.weighting == "elbo":
            loss = -rate / 2 * of_noise
        else:  # the error of the data is that of the noise, divided by the ratio
            loss = jnp.minimum(1, _MIN_SNR * jnp.exp(-log_snr)) * of_noise
        return {"denoiser": loss.mean()}, extra, {"noise_error": of_noise.mean()}

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One x for each key, by `options["sampler"]` in `options["steps"]` steps."""
        return self.in_units(extra, self._sampled(params, extra, keys, condition, options)[0])

    def guide(
        self,
        params: Params,
        extra: Extra,
        keys: jax.Array,
        log_prob: Callable[[jax.Array, Batch], jax.Array],
        condition: Batch,
        options: Options,
    ) -> jax.Array:
        """See `base.Guided`: Dhariwal and Nichol 2021 (arXiv 2105.05233), algorithm 2.

        The classifier knows no noise, and is asked of what the network says is behind it (Bansal et
        al. 2023, Universal Guidance, arXiv 2302.07121, equation 6).
        """

        def towards(denoise, condition):
            def told(z, log_snr):
                def likelihood(z):
                    x, _ = denoise(z, log_snr)
                    return log_prob(x * extra["std"] + extra["mean"], condition).sum(), x

                pull, x = jax.grad(likelihood, has_aux=True)(z)
                alpha, sigma = self.process.scales(log_snr.reshape(-1, *[1] * (z.ndim - 1)))
                x += sigma**2 / alpha * pull
                return x, (z - alpha * x) / sigma

            return told

        drawn = self._sampled(params, extra, keys, condition, options, towards)
        return self.in_units(extra, drawn[0])

    def film(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """See `base.Film`: z at each step, as wide as the data, and what became of it."""
        x, path = self._sampled(params, extra, keys, condition, options)
        alpha, sigma = self.process.scales(self.process.ladder(options["steps"]))
        width = jnp.sqrt(alpha**2 + sigma**2).reshape(-1, *[1] * x.ndim)
        return self.in_units(extra, jnp.concatenate([path / width, x[None]]))

    def sampling_calls(self, options: Options) -> int | None:
        """See `base.CallsCounted`."""
        return sampling_calls(options)

    def within_calls(self, options: Options, calls: int) -> Options:
        """See `base.CallsCounted`."""
        return within_calls(options, calls)

    def _sampled(self, params, extra, keys, condition, options, changed=None):
        """Standardised x [B, ...] and the path to it; `changed(denoise, condition)` denoises."""

        def drawn(keys, condition):
            denoise = self._guided(params, extra, condition, options)
            if changed:
                denoise = changed(denoise, condition)
            sampler = SAMPLERS[options["sampler"]]
            return self._draw(keys, options["steps"], sampler, denoise, options)

        return with_own_steps(drawn, options, keys, condition)

    def _draw(self, keys, steps, sampler, denoise, *more):
        """What a sampler makes of noise."""
        ladder = self.process.ladder(steps)
        alpha, sigma = self.process.scales(ladder[0])
        # What is left of the data is as wide as they are.
        start = keys_lib.normal(keys_lib.named(keys, "start"), self.spec.shape)
        z = jnp.sqrt(alpha**2 + sigma**2) * start
        return sampler(denoise, self.process, ladder, z, keys_lib.named(keys, "steps"), *more)

    def in_units(self, extra: Extra, x: jax.Array) -> jax.Array:
        """Standardised x [..., *shape] in model units."""
        x = self.spec.uncenter(x * extra["std"] + extra["mean"])
        return jnp.clip(x, 0, 1 - 1e-6) if self.spec.is_dequantized else x

    def restore(
        self,
        params: Params,
        extra: Extra,
        keys: jax.Array,
        measurement: Measurement,
        y: jax.Array,
        condition: Batch,
        options: Options,
    ) -> jax.Array:
        """See `base.Restorer`; `options["restoration"]` is the method."""
        denoise = self._guided(params, extra, condition, options)
        # y and its noise as of standardised x.
        mean = jnp.broadcast_to(extra["mean"], self.spec.shape)[None]
        seen = (y - measurement.apply(mean)) / extra["std"]
        measurement = measurement.replace(noise=measurement.noise / extra["std"])
        told = Seen(measurement, measurement.summary(seen))
        method = METHODS[options["restoration"]]
        return self.in_units(
            extra, self._draw(keys, options["steps"], method, denoise, options, told)
        )

    def denoise(
        self, params: Params, extra: Extra, x: jax.Array, noise_level: jax.Array, condition: Batch
    ) -> jax.Array:
        """See `base.Denoiser`."""
        log_snr = -2 * jnp.log(noise_level / extra["std"])
        alpha, _ = self.process.scales(log_snr.reshape(-1, *[1] * (x.ndim - 1)))
        z = alpha * (x - extra["mean"]) / extra["std"]
        found, _ = self.denoiser(params, extra, condition)(z, log_snr)
        return found * extra["std"] + extra["mean"]

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """The log of the density of x in model units, an estimate.

        By the probability-flow ODE: see `density.log_density`.
        """
        x = self.standardized(extra, batch["x"])
        denoise = self.denoiser(params, extra, batch)
        signs = 2 * keys_lib.bernoulli(keys_lib.named(keys, "trace"), jnp.full(x.shape, 0.5)) - 1
        value = log_density(denoise, self.process, x, signs, self._ends(), self.ode_steps)
        # And of the standardisation, behind that to [-1, 1].
        each = (math.log(2.0) if self.spec.is_dequantized else 0.0) - jnp.log(extra["std"])
        return LogProb(value + self.spec.num_dims * each, kind="estimate")

    @property
    def latent_dim(self) -> int:
        """As many as x has dimensions."""
        return self.spec.num_dims

    @property
    def _latent_steps(self) -> int:
        """Of the ODE without a trace, which pictures need less sharply than figures a density."""
        return max(self.ode_steps // 4, 1)

    def encode(self, params: Params, extra: Extra, batch: Batch) -> DiagonalGaussian:
        """The noise that the ODE makes of x, about standard normal: all of q(z|x) is there."""
        denoise, (first, last) = self.denoiser(params, extra, batch), self._ends()
        x = self.standardized(extra, batch["x"])
        y = transport(denoise, self.process, x, (first, last), self._latent_steps)
        z = (y / jnp.sqrt(1 + jnp.exp(-last))).reshape(len(y), -1)
        return DiagonalGaussian(z, jnp.full_like(z, -jnp.inf))

    def sample_posterior(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> jax.Array:
        return self.encode(params, extra, batch).mean

    def decode(self, params: Params, extra: Extra, z: jax.Array, condition: Batch) -> jax.Array:
        """What the ODE makes of noise [N, D]."""
        if "label" in self.given and "label" not in condition:
            condition = {"label": jnp.zeros(len(z), jnp.int32)}
        denoise, (first, last) = self.denoiser(params, extra, condition), self._ends()
        y = z.reshape(len(z), *self.spec.shape) * jnp.sqrt(1 + jnp.exp(-last))
        return self.in_units(
            extra, transport(denoise, self.process, y, (last, first), self._latent_steps)
        )

    def edit(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        keys: jax.Array,
        noise_level: jax.Array,
        options: Options,
    ) -> jax.Array:
        """See `base.Editor`: Meng et al. 2022 (SDEdit, arXiv 2108.01073), algorithm 1."""
        # The steps of sampling from there on, as many as there are options["steps"].
        whole = self.process.ladder(_FINE)
        places = jnp.arange(_FINE, dtype=jnp.float32)
        begin = jnp.interp(-2 * jnp.log(noise_level / extra["std"]), whole, places)
        begin = jnp.minimum(begin, _FINE - 2)  # a ladder rises
        ladder = jnp.interp(jnp.linspace(begin, _FINE - 1, options["steps"]), places, whole)
        alpha, sigma = self.process.scales(ladder[0])

        def drawn(keys, batch):
            noise = keys_lib.normal(keys_lib.named(keys, "start"), self.spec.shape)
            z = alpha * self.standardized(extra, batch["x"]) + sigma * noise
            denoise = self._guided(params, extra, batch, options)
            sampler, steps = SAMPLERS[options["sampler"]], keys_lib.named(keys, "steps")
            return sampler(denoise, self.process, ladder, z, steps, options)

        return self.in_units(extra, with_own_steps(drawn, options, keys, batch)[0])

    def _ends(self) -> tuple[jax.Array, jax.Array]:
        """l of the least and of the most noise."""
        most, least = self.process.ladder(2)  # and not of training, which may be of a few levels
        return least, most

    def standardized(self, extra: Extra, x: jax.Array) -> jax.Array:
        """x in model units -> with mean 0 and variance 1."""
        return (self.spec.center(x) - extra["mean"]) / extra["std"]

    def _context(
        self, extra: Extra, batch: Batch, keys: jax.Array | None = None
    ) -> jax.Array | None:
        """What the network is given, [B, N], or None; no label is all 0."""
        if not self.given:
            return None
        if "given" in extra:
            return conditions.standardized(batch, self.given, extra["given"])
        return conditions.labels(batch, self.spec.num_classes, keys, self.label_dropout)

    def _ask(self, params, z, log_snr, context) -> jax.Array:
        alpha, sigma = self.process.scales(log_snr.reshape(-1, *[1] * (z.ndim - 1)))
        z = z / jnp.sqrt(alpha**2 + sigma**2)
        return self.network.apply({"params": params["denoiser"]}, z, log_snr, context)

    def _guided(self, params, extra, condition, options):
        """`denoiser` with the guidance that is asked for.

        It is within an interval of noise, sigma / alpha of standardised data (Kynkäänniemi et al.
        2024, arXiv 2404.07724).
        """
        low, high = options["guidance_interval"]

        def within(log_snr):
            level = jnp.exp(-log_snr / 2)
            return (low <= level) & (level <= high)

        return self.denoiser(params, extra, condition, options["guidance"], within)

    def denoiser(self, params, extra, condition, guidance=1.0, within=None):
        """(z, l) -> what z is made of, as samplers ask for it."""
        context = self._context(extra, condition)
        conditions.check_guidance(guidance, self.given, self.label_dropout)
        ask = conditions.guided(functools.partial(self._ask, params), context, guidance, within)

        def denoise(z, log_snr):
            return self.process.both(z, ask(z, log_snr), log_snr)

        return denoise

    def _mean(self, values: jax.Array) -> jax.Array:
        return values.reshape(len(values), -1).mean(1)
