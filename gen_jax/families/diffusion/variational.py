"""Variational diffusion: a bound on the likelihood of bytes, with learned ends of the noise.

Kingma et al. 2021 (VDM, arXiv 2107.00630), in continuous time.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families import conditions
from gen_jax.families.base import Extra, LogProb, Options, Params
from gen_jax.families.diffusion.density import log_density
from gen_jax.families.diffusion.process import Process
from gen_jax.families.diffusion.samplers import (
    SAMPLERS,
    sampling_calls,
    with_own_steps,
    within_calls,
)

# l of the least and of the most noise, before training; the authors' code has 13.3 and -5.
_FIRST, _LAST = 13.3, -5.0


@dataclasses.dataclass(frozen=True)
class VariationalDiffusion:
    """Bytes as numbers from -1 to 1, noise whose l falls evenly with time, and its three costs.

    In continuous time the bound depends on the ends of l alone, which are learned with the network;
    between them l is linear (section 5.1).

    Attributes:
      spec: the data, bytes.
      network: `(z, l, context)` to the shape of z; z has Fourier features as further channels.
      process: preserving; its schedule is not read.
      fourier: n of the features sin(2^n pi z) and cos(2^n pi z) (appendix C).
      bound_samples: times at which the bound of an example is estimated.
      ode_steps: of the ODE of `ode_log_prob`.
      given: ("label",) or ().
      label_dropout: how often training withholds the label, for guidance.
    """

    spec: DataSpec
    network: nn.Module
    process: Process
    fourier: tuple[int, ...] = ()
    bound_samples: int = 10
    ode_steps: int = 100
    given: tuple[str, ...] = ()
    label_dropout: float = 0.0

    turns = (("denoiser",),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        x = self.spec.center(batch["x"])
        inputs = (self._with_features(x), jnp.zeros(len(x)), self._context(batch))
        network = self.network.init(key, *inputs)["params"]
        ends = {"first": jnp.float32(_FIRST), "last": jnp.float32(_LAST)}
        return {"denoiser": {"network": network, "ends": ends}}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        x = self.spec.center(batch["x"])
        context = self._context(batch, keys)
        t = keys_lib.uniform(keys_lib.named(keys, "t"))
        diffusion = self._diffusion(params, x, t, keys_lib.named(keys, "noise"), context)
        prior, reconstruction = self._ends_cost(params, batch, keys)
        parts = {"prior": prior, "reconstruction": reconstruction, "diffusion": diffusion}
        # In bits a dimension.
        parts = {name: self.spec.bits_per_dim(part).mean() for name, part in parts.items()}
        return {"denoiser": sum(parts.values())}, extra, parts

    def bound_parts(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> dict[str, jax.Array]:
        """The costs of the bound in nats, [B] each: equation 11, the last by equation 17.

        prior: KL of what the most noise leaves and a standard normal distribution.
        reconstruction: -log p(x | z) behind the least noise.
        diffusion: of all noise in between, at `bound_samples` even distances of time.
        """
        x, context = self.spec.center(batch["x"]), self._context(batch)
        begin = keys_lib.uniform(keys_lib.named(keys, "t"))

        def term(total, number):
            t = (number + begin) / self.bound_samples
            own = keys_lib.fold(keys_lib.named(keys, "noise"), number)
            return total + self._diffusion(params, x, t, own, context), None

        numbers = jnp.arange(self.bound_samples)
        total = jax.lax.scan(term, jnp.zeros(len(x)), numbers)[0]
        prior, reconstruction = self._ends_cost(params, batch, keys)
        diffusion = total / self.bound_samples
        return {"prior": prior, "reconstruction": reconstruction, "diffusion": diffusion}

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """An unbiased estimate of the bound."""
        parts = self.bound_parts(params, extra, batch, keys)
        return LogProb(-sum(parts.values()), None, "lower_bound")

    def ode_log_prob(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> jax.Array:
        """See `base.OdeDensity`: of x with uniform noise of one level's width."""
        noise = keys_lib.uniform(keys_lib.named(keys, "dequantization"), self.spec.shape)
        x = self.spec.center(batch["x"] + noise - 0.5)
        signs = 2 * keys_lib.bernoulli(keys_lib.named(keys, "trace"), jnp.full(x.shape, 0.5)) - 1
        ends = self._ends(params)
        denoise = self._denoiser(params, batch, 1.0)
        value = log_density(denoise, self.process, x, signs, ends, self.ode_steps)
        return value + self.spec.num_dims * jnp.log(2 / (self.spec.levels - 1))

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One x for each key, by `options["sampler"]` in `options["steps"]` steps."""
        first, last = self._ends(params)
        ladder = jnp.linspace(last, first, options["steps"])

        def drawn(keys, condition):
            denoise = self._denoiser(params, condition, options["guidance"])
            z = keys_lib.normal(keys_lib.named(keys, "start"), self.spec.shape)
            sampler, steps = SAMPLERS[options["sampler"]], keys_lib.named(keys, "steps")
            return sampler(denoise, self.process, ladder, z, steps, options)

        x, _ = with_own_steps(drawn, options, keys, condition)
        return jnp.clip(jnp.round(self.spec.uncenter(x)), 0, self.spec.levels - 1)

    def sampling_calls(self, options: Options) -> int:
        """See `base.CallsCounted`."""
        return sampling_calls(options)

    def within_calls(self, options: Options, calls: int) -> Options:
        """See `base.CallsCounted`."""
        return within_calls(options, calls)

    def denoise(
        self, params: Params, extra: Extra, x: jax.Array, noise_level: jax.Array, condition: Batch
    ) -> jax.Array:
        """See `base.Denoiser`."""
        log_snr = -2 * jnp.log(noise_level)
        alpha, _ = self.process.scales(log_snr.reshape(-1, *[1] * (x.ndim - 1)))
        return self._denoiser(params, condition, 1.0)(alpha * x, log_snr)[0]

    def _ends(self, params: Params) -> tuple[jax.Array, jax.Array]:
        ends = params["denoiser"]["ends"]
        return ends["first"], ends["last"]

    def _diffusion(self, params, x, t, keys, context) -> jax.Array:
        """-dl/dt / 2 |e - e(z)|^2 at times t [B], whose mean over time is the cost: [B]."""
        first, last = self._ends(params)
        log_snr = first + (last - first) * t
        noise = keys_lib.normal(keys, x.shape[1:])
        alpha, sigma = self.process.scales(log_snr.reshape(-1, *[1] * (x.ndim - 1)))
        said = self._ask(params, alpha * x + sigma * noise, log_snr, context)
        error = self.process.noise_error(said - self.process.target(x, noise, log_snr), log_snr)
        return (first - last) / 2 * jnp.square(error).reshape(len(x), -1).sum(1)

    def _ends_cost(self, params, batch, keys) -> tuple[jax.Array, jax.Array]:
        """What the most and the least noise cost, [B] each."""
        x = self.spec.center(batch["x"])
        first, last = self._ends(params)
        alpha, sigma = self.process.scales(last)
        square, variance = jnp.square(alpha * x), jnp.square(sigma)
        prior = 0.5 * (square + variance - 1 - jnp.log(variance)).reshape(len(x), -1).sum(1)
        # z / alpha of the least noise, and how near each level is to it: equation 8.
        level = jnp.exp(-first / 2)
        noisy = x + level * keys_lib.normal(keys_lib.named(keys, "least"), x.shape[1:])
        levels = self.spec.center(jnp.arange(self.spec.levels, dtype=jnp.float32))
        log_p = jax.nn.log_softmax(-0.5 * jnp.square((noisy[..., None] - levels) / level), -1)
        which = batch["x"].astype(jnp.int32)[..., None]
        own = jnp.take_along_axis(log_p, which, -1)
        return prior, -own.reshape(len(x), -1).sum(1)

    def _context(self, batch: Batch, keys: jax.Array | None = None) -> jax.Array | None:
        if not self.given:
            return None
        return conditions.labels(batch, self.spec.num_classes, keys, self.label_dropout)

    def _with_features(self, z: jax.Array) -> jax.Array:
        angles = [2.0**n * jnp.pi * z for n in self.fourier]
        parts = [wave(angle) for angle in angles for wave in (jnp.sin, jnp.cos)]
        return jnp.concatenate([z, *parts], -1)

    def _ask(self, params, z, log_snr, context) -> jax.Array:
        variables = {"params": params["denoiser"]["network"]}
        return self.network.apply(variables, self._with_features(z), log_snr, context)

    def _denoiser(self, params, condition, guidance):
        """(z, l) -> what z is made of, as samplers ask for it."""
        context = self._context(condition)
        conditions.check_guidance(guidance, self.given, self.label_dropout)
        ask = conditions.guided(functools.partial(self._ask, params), context, guidance)

        def denoise(z, log_snr):
            return self.process.both(z, ask(z, log_snr), log_snr)

        return denoise
