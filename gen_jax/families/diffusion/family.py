"""Diffusion as a family: the loss, samples, and the density by the probability-flow ODE."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.families import conditions
from gen_jax.families.base import Extra, LogProb, Options, Params
from gen_jax.families.diffusion.process import Process
from gen_jax.families.diffusion.restoration import METHODS, Seen
from gen_jax.families.diffusion.samplers import SAMPLERS
from gen_jax.measurements import Measurement

WEIGHTINGS = ("simple", "elbo", "min_snr")
_MIN_SNR = 5.0  # gamma of Hang et al. 2023 (arXiv 2303.09556)
# Up to so many dimensions the trace of the density's ODE is exact; beyond it is Hutchinson's.
_EXACT_TRACE = 16


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
        x = self._standardize(extra, batch["x"])
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
        denoise = self._denoiser(params, extra, condition, options["guidance"])
        return self._draw(
            extra, keys, options["steps"], SAMPLERS[options["sampler"]], denoise, options
        )

    def _draw(self, extra, keys, steps, sampler, denoise, *more) -> jax.Array:
        """x in model units, of a sampler from noise on."""
        ladder = self.process.ladder(steps)
        alpha, sigma = self.process.scales(ladder[0])
        # What is left of the data is as wide as they are.
        start = keys_lib.normal(keys_lib.named(keys, "start"), self.spec.shape)
        z = jnp.sqrt(alpha**2 + sigma**2) * start
        x = sampler(denoise, self.process, ladder, z, keys_lib.named(keys, "steps"), *more)
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
        denoise = self._denoiser(params, extra, condition, options["guidance"])
        # y and its noise as of standardised x.
        mean = jnp.broadcast_to(extra["mean"], self.spec.shape)[None]
        seen = (y - measurement.apply(mean)) / extra["std"]
        measurement = measurement.replace(noise=measurement.noise / extra["std"])
        return self._draw(
            extra,
            keys,
            options["steps"],
            METHODS[options["restoration"]],
            denoise,
            options,
            Seen(measurement, measurement.summary(seen)),
        )

    def denoise(
        self, params: Params, extra: Extra, x: jax.Array, noise_level: jax.Array, condition: Batch
    ) -> jax.Array:
        """See `base.Denoiser`."""
        log_snr = -2 * jnp.log(noise_level / extra["std"])
        alpha, _ = self.process.scales(log_snr.reshape(-1, *[1] * (x.ndim - 1)))
        z = alpha * (x - extra["mean"]) / extra["std"]
        found, _ = self._denoiser(params, extra, condition, 1.0)(z, log_snr)
        return found * extra["std"] + extra["mean"]

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """The log of the density of x in model units, an estimate.

        By the probability-flow ODE (Song et al. 2021, arXiv 2011.13456, equation 39), with the
        exact trace up to 16 dimensions and Hutchinson's estimate, of one sign for each number,
        beyond. Runge-Kutta of order 4 at equal steps of ln(sigma / alpha).
        """
        x = self._standardize(extra, batch["x"])
        denoise = self._denoiser(params, extra, batch, 1.0)
        signs = 2 * keys_lib.bernoulli(keys_lib.named(keys, "trace"), jnp.full(x.shape, 0.5)) - 1

        def slope(along, y):
            """dy/d ln s = s noise(y), with s = sigma / alpha, and its trace."""
            log_snr = jnp.full(len(y), -2 * along)
            alpha = self.process.scales(log_snr[0])[0]
            moves = lambda y: jnp.exp(along) * denoise(alpha * y, log_snr)[1]  # noqa: E731
            return _with_trace(moves, y, signs)

        first, last = (-self.process.log_snr(jnp.float32(t)) / 2 for t in (0.0, 1.0))
        width = (last - first) / self.ode_steps

        def step(carry, number):
            y, total = carry
            along = first + number * width
            one, a = slope(along, y)
            two, b = slope(along + width / 2, y + width / 2 * one)
            three, c = slope(along + width / 2, y + width / 2 * two)
            four, d = slope(along + width, y + width * three)
            y += width / 6 * (one + 2 * two + 2 * three + four)
            return (y, total + width / 6 * (a + 2 * b + 2 * c + d)), None

        begin = (x, jnp.zeros(len(x)))
        (y, total), _ = jax.lax.scan(step, begin, jnp.arange(self.ode_steps))
        variance = 1 + jnp.exp(2 * last)
        squares = jnp.square(y).reshape(len(y), -1).sum(1) / variance
        size = self.spec.num_dims
        value = total - 0.5 * (squares + size * jnp.log(2 * jnp.pi * variance))
        # And of the standardisation, behind that to [-1, 1].
        each = (math.log(2.0) if self.spec.is_dequantized else 0.0) - jnp.log(extra["std"])
        return LogProb(value + size * each, kind="estimate")

    def _standardize(self, extra: Extra, x: jax.Array) -> jax.Array:
        return (self.spec.center(x) - extra["mean"]) / extra["std"]

    def _context(
        self, extra: Extra, batch: Batch, keys: jax.Array | None = None
    ) -> jax.Array | None:
        """What the network is given, [B, N], or None; no label is all 0."""
        if not self.given:
            return None
        if "given" in extra:
            return conditions.standardized(batch, self.given, extra["given"])
        context = jax.nn.one_hot(batch["label"], self.spec.num_classes)
        if keys is not None and self.label_dropout:
            kept = keys_lib.uniform(keys_lib.named(keys, "label")) >= self.label_dropout
            context = context * kept[:, None]
        return context

    def _ask(self, params, z, log_snr, context) -> jax.Array:
        alpha, sigma = self.process.scales(log_snr.reshape(-1, *[1] * (z.ndim - 1)))
        z = z / jnp.sqrt(alpha**2 + sigma**2)
        return self.network.apply({"params": params["denoiser"]}, z, log_snr, context)

    def _denoiser(self, params, extra, condition, guidance):
        """(z, l) -> what z is made of, as samplers ask for it.

        Where there are more z than conditions, each condition is that of as many in a row.
        With guidance g the noise is g times that given the condition and 1 - g times that given
        nothing (Ho and Salimans 2022, arXiv 2207.12598).
        """
        context, guided = self._context(extra, condition), guidance != 1
        if guided and ("label" not in self.given or not self.label_dropout):
            raise UserError(
                "guidance needs a class-conditional model that was trained with "
                "--config.model.label_dropout=0.1 or so"
            )
        ask = functools.partial(self._ask, params)

        def denoise(z, log_snr):
            own = None if context is None else jnp.repeat(context, len(z) // len(context), 0)
            said = ask(z, log_snr, own)
            if guided:
                without = ask(z, log_snr, jnp.zeros_like(own))
                said = guidance * said + (1 - guidance) * without
            return self.process.both(z, said, log_snr)

        return denoise

    def _mean(self, values: jax.Array) -> jax.Array:
        return values.reshape(len(values), -1).mean(1)


def _with_trace(moves, y, signs):
    """moves(y) [B, ...] and the trace of its Jacobian [B]."""
    size = math.prod(y.shape[1:])
    if size > _EXACT_TRACE:
        moved, turned = jax.jvp(moves, (y,), (signs,))
        return moved, (signs * turned).reshape(len(y), -1).sum(1)
    moved, turn = jax.linearize(moves, y)

    def entry(number):
        one = jax.nn.one_hot(number, size).reshape(1, *y.shape[1:])
        return (turn(jnp.broadcast_to(one, y.shape)) * one).reshape(len(y), -1).sum(1)

    return moved, sum(entry(number) for number in range(size))
