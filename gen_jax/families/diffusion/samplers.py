"""Samplers: from noise to data, each written once against the process.

Each is `(denoise, process, ladder, z, keys, options) -> (x, path)`, where path [N, B, ...] is z at
each step:

    denoise: `(z [B, ...], l [B]) -> (x, noise)`, what z is made of as the network sees it.
    process: how much of each is in z.
    ladder: l of each step, rising, [N]; behind the last z is x.
    z: at the first step.
    keys: [B], of what is drawn on the way.
    options: of `sample`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import ticks
from gen_jax.errors import UserError
from gen_jax.families.base import Options
from gen_jax.families.diffusion.process import Process

Denoise = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
Sampled = tuple[jax.Array, jax.Array]

_MOST_STEPS = 4_096  # of the adaptive sampler
_CORRECTION = 0.16  # r of Song et al. 2021 (arXiv 2011.13456), table 5


def steps_of(process: Process, ladder: jax.Array) -> tuple[jax.Array, ...]:
    """Number, l, alpha and sigma of each step and those of the next, where noise ends with 0."""
    alpha, sigma = process.scales(ladder)
    next_alpha = jnp.append(alpha[1:], 1.0)
    next_sigma = jnp.append(sigma[1:], 0.0)
    return jnp.arange(len(ladder)), ladder, alpha, sigma, next_alpha, next_sigma


def all_of(log_snr: jax.Array, z: jax.Array) -> jax.Array:
    """One l for all of z [B, ...]."""
    return jnp.full(len(z), log_snr)


def noise_of(keys: jax.Array, number: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal draws of one step, [B, *shape] of keys [B]."""
    return keys_lib.normal(keys_lib.fold(keys, number), shape)


def transition(
    inputs: tuple[jax.Array, ...], x: jax.Array, noise: jax.Array, eta: float
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of the next z, of what `steps_of` gives for a step.

    Song et al. 2021 (DDIM, arXiv 2010.02502), equations 12 and 16, of any scaling. With `eta=1` it
    is q(z_next | z, x), of the ancestral sampler of DDPM.
    """
    _, _, alpha, sigma, next_alpha, next_sigma = inputs
    # The variance of q(z_next | z, x): Kingma et al. 2021, equation 24.
    ratio = alpha * next_sigma / (next_alpha * sigma)
    new = eta * next_sigma * jnp.sqrt(jnp.maximum(1 - ratio**2, 0))
    old = jnp.sqrt(jnp.maximum(next_sigma**2 - new**2, 0))
    return next_alpha * x + old * noise, new


def ddim(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
) -> Sampled:
    """Song et al. 2021 (DDIM, arXiv 2010.02502): see `transition`."""
    eta = options["eta"]

    def step(z, inputs):
        number, log_snr = inputs[:2]
        mean, new = transition(inputs, *denoise(z, all_of(log_snr, z)), eta)
        return (mean + new * noise_of(keys, number, z.shape[1:]) if eta else mean), z

    return ticks.scan(step, z, steps_of(process, ladder))


def corrected(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
) -> Sampled:
    """Song et al. 2021 (arXiv 2011.13456), algorithm 1: an ancestral step, then one of Langevin's.

    Which is at the level that the first has led to, so that there is none behind the last.
    """

    def langevin(z, number, log_snr, sigma):
        score = -denoise(z, all_of(log_snr, z))[1] / sigma
        fresh = noise_of(keys_lib.named(keys, "correction"), number, z.shape[1:])
        norms = (jnp.sqrt(jnp.square(v).reshape(len(z), -1).sum(1)).mean() for v in (fresh, score))
        # Algorithm 4 has a factor alpha_t of a discrete process, which is near 1.
        size = 2 * jnp.square(_CORRECTION * next(norms) / next(norms))
        return z + size * score + jnp.sqrt(2 * size) * fresh

    def step(z, inputs):
        number, log_snr, _, _, _, next_sigma = inputs[:6]
        begin = z
        mean, new = transition(inputs[:6], *denoise(z, all_of(log_snr, z)), 1.0)
        z = mean + new * noise_of(keys, number, z.shape[1:])
        return langevin(z, number, inputs[6], next_sigma), begin

    inputs = steps_of(process, ladder)
    most = tuple(part[:-1] for part in inputs)
    z, path = ticks.scan(step, z, (*most, ladder[1:]))
    x = denoise(z, all_of(ladder[-1], z))[0]
    return x, jnp.concatenate([path, z[None]])


def heun(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
) -> Sampled:
    """Karras et al. 2022 (EDM, arXiv 2206.00364), algorithm 2; `churn` is its S_churn.

    It asks the network twice a step, but for the last.

    The probability-flow ODE is dz = x d alpha + noise d sigma, of which a step takes the mean of
    x, and that of the noise, at its two ends. Where alpha is 1 that is the algorithm as it is
    printed, and where alpha + sigma is 1 Heun's rule for the velocity of flow matching. Steps of
    z / alpha are too coarse for the latter: its first noise is 999 times the data, and the first
    step multiplies by about as much the error of what the network says at the step's end.
    """
    gamma = min(options["churn"] / len(ladder), 2**0.5 - 1)

    def stirred(z, number, log_snr):
        """z with the noise that `churn` adds, and its l."""
        if not gamma:
            return z, log_snr
        less = log_snr - 2 * jnp.log1p(gamma)
        (alpha, sigma), (new_alpha, new_sigma) = process.scales(log_snr), process.scales(less)
        ratio = new_alpha / alpha
        fresh = jnp.sqrt(new_sigma**2 - (ratio * sigma) ** 2)
        return ratio * z + fresh * noise_of(keys, number, z.shape[1:]), less

    def step(start, inputs):
        number, log_snr, _, _, next_alpha, next_sigma, next_log_snr = inputs
        z, log_snr = stirred(start, number, log_snr)
        alpha, sigma = process.scales(log_snr)

        def moved(x, noise):
            return z + (next_alpha - alpha) * x + (next_sigma - sigma) * noise

        first = denoise(z, all_of(log_snr, z))
        second = denoise(moved(*first), all_of(next_log_snr, z))
        return moved(*((a + b) / 2 for a, b in zip(first, second, strict=True))), start

    most = tuple(part[:-1] for part in steps_of(process, ladder))
    before, path = ticks.scan(step, z, (*most, ladder[1:]))
    z, log_snr = stirred(before, len(ladder) - 1, ladder[-1])
    return denoise(z, all_of(log_snr, z))[0], jnp.concatenate([path, before[None]])


def dpm(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
) -> Sampled:
    """Lu et al. 2022 (DPM-Solver++(2M), arXiv 2211.01095), algorithm 2; the last is of order 1."""
    number, log_snr, _, sigma, next_alpha, next_sigma = steps_of(process, ladder)
    width = jnp.append(jnp.diff(ladder) / 2, jnp.inf)
    before = jnp.append(jnp.inf, width[:-1])

    def step(carry, inputs):
        z, last = carry
        start = z
        number, log_snr, sigma, next_alpha, next_sigma, width, before = inputs
        x, _ = denoise(z, all_of(log_snr, z))
        second_order = (number > 0) & (next_sigma > 0)
        share = jnp.where(second_order, width / (2 * before), 0.0)
        ahead = x + share * (x - last)
        z = next_sigma / sigma * z - next_alpha * jnp.expm1(-width) * ahead
        return (z, x), start

    inputs = (number, log_snr, sigma, next_alpha, next_sigma, width, before)
    (x, _), path = ticks.scan(step, (z, jnp.zeros_like(z)), inputs)
    return x, path


def probability_flow(denoise: Denoise, process: Process) -> Callable:
    """The ODE's `(ln s, y [B, ...]) -> dy/d ln s`, of y = z / alpha and s = sigma / alpha.

    Karras et al. 2022 (arXiv 2206.00364), equation 1: dy/ds is the noise that is in z.
    """

    def slope(log_level, y):
        log_snr = all_of(-2 * log_level, y)
        alpha = process.scales(log_snr[0])[0]
        return jnp.exp(log_level) * denoise(alpha * y, log_snr)[1]

    return slope


def adaptive(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
) -> Sampled:
    """The ODE by Tsitouras' rule of order 5, in as many steps as `tolerance` asks for.

    The steps are common to the batch: a caller that wants each sample apart gives one at a time.

    Raises:
      UserError: if diffrax is not installed.
    """
    try:
        import diffrax
    except ImportError as error:
        raise UserError(
            "sampler=adaptive needs diffrax; install it by: pip install 'gen_jax[ode]'"
        ) from error
    slope = probability_flow(denoise, process)
    levels = -ladder / 2
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda level, y, _: slope(level, y)),
        diffrax.Tsit5(),
        t0=levels[0],
        t1=levels[-1],
        dt0=None,
        y0=z / process.scales(ladder[0])[0],
        saveat=diffrax.SaveAt(ts=levels),
        stepsize_controller=diffrax.PIDController(options["tolerance"], options["tolerance"]),
        max_steps=_MOST_STEPS,
        throw=False,
    )
    y = found.ys
    alpha = process.scales(ladder)[0].reshape(-1, *[1] * z.ndim)
    # At the least noise the slope is that noise times its level.
    return y[-1] - slope(levels[-1], y[-1]), alpha * y


SAMPLERS = {
    "ddim": ddim,
    "corrected": corrected,
    "heun": heun,
    "dpm": dpm,
    "adaptive": adaptive,
}


def with_own_steps(drawn: Callable[..., Sampled], options: Options, *batched: Any) -> Sampled:
    """`drawn(*batched)`, one example at a time where a sampler's steps depend on the batch.

    So a sample is the same whatever others are drawn with it.
    """
    if options["sampler"] != "adaptive":
        return drawn(*batched)
    one = lambda *own: drawn(*jax.tree.map(lambda array: array[None], own))  # noqa: E731
    x, path = jax.vmap(one)(*batched)
    return x[:, 0], jnp.moveaxis(path[:, :, 0], 0, 1)


def sampling_calls(options: Options) -> int | None:
    """How often a sampler asks the network for each sample; None where that depends on it."""
    if options["sampler"] == "adaptive":
        return None
    twice = options["sampler"] in ("corrected", "heun")
    steps = 2 * options["steps"] - 1 if twice else options["steps"]
    return steps * (2 if options["guidance"] != 1 else 1)


def within_calls(options: Options, calls: int) -> Options:
    """The options with the most steps, of one at least, that take no more calls.

    Raises:
      UserError: for a sampler whose steps are as many as each sample needs.
    """
    if options["sampler"] == "adaptive":
        raise UserError(
            "sampler=adaptive takes as many calls as each sample needs; name others by "
            "--config.eval.samplers=ddim,heun,dpm"
        )
    if options["guidance"] != 1:
        calls //= 2
    twice = options["sampler"] in ("corrected", "heun")
    return {**options, "steps": max((calls + 1) // 2 if twice else calls, 1)}
