"""Draws of the posterior given a measurement, by a diffusion that knows of none.

Each method is `(denoise, process, ladder, z, keys, options, seen) -> x`, as samplers are, and
`seen` is what was measured. All of them see the measurement by its singular values
(gen_jax/measurements.py): numbers w = V^T x, each with noise of a level of its own.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import ticks
from gen_jax.families.base import Options
from gen_jax.families.diffusion.process import Process
from gen_jax.families.diffusion.samplers import (
    Denoise,
    all_of,
    ddim,
    noise_of,
    steps_of,
    transition,
)
from gen_jax.measurements import Measurement

_SOLVER_STEPS = 8  # products with a network's Jacobian; Rozet et al. take from 1 to 5
_LEAST_LEVEL = 1e-3  # of the noise that particles are weighted by, where there is none


@dataclasses.dataclass(frozen=True)
class Seen:
    """A measurement of each of a batch of examples.

    Attributes:
      measurement: of standardised x.
      value: the summary of what was measured, [B, R, C].
    """

    measurement: Measurement
    value: jax.Array

    def gap(self, x: jax.Array) -> jax.Array:
        """What was seen, less what would be of x: [B, R, C]."""
        return self.value - self.measurement.project(x)

    def lift(self, w: jax.Array, like: jax.Array) -> jax.Array:
        return self.measurement.lift(w, like.shape[1:])


def replacement(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
    seen: Seen,
) -> jax.Array:
    """What was seen, with noise of the step, stands in its place in z.

    Song et al. 2021 (arXiv 2011.13456, appendix I.2). With `resamplings` above 1 each step goes
    back and is taken again so often: RePaint (Lugmayr et al. 2022, arXiv 2201.09865, algorithm 1).
    Either takes what was seen for exact.
    """
    times = options["resamplings"]

    def once(z, inputs, round_keys):
        _, log_snr, _, _, next_alpha, next_sigma = inputs
        x, noise = denoise(z, all_of(log_snr, z))
        mean, new = transition(inputs, x, noise, options["restoration_eta"])
        drawn = mean + new * noise_of(round_keys, 0, z.shape[1:])
        held = next_alpha * seen.value
        held += next_sigma * noise_of(round_keys, 1, seen.value.shape[1:])
        drawn += seen.lift(held - seen.measurement.project(drawn), z)
        return drawn

    def step(z, inputs):
        number, _, alpha, sigma, next_alpha, next_sigma = inputs
        step_keys = keys_lib.fold(keys, number)

        def again(z, number):
            own = keys_lib.fold(step_keys, number)
            drawn = once(z, inputs, own)
            ratio = alpha / next_alpha
            more = jnp.sqrt(jnp.maximum(sigma**2 - ratio**2 * next_sigma**2, 0))
            back = ratio * drawn + more * noise_of(own, 2, z.shape[1:])
            return back, None

        z, _ = jax.lax.scan(again, z, jnp.arange(times - 1))
        return once(z, inputs, keys_lib.fold(step_keys, times)), None

    return ticks.scan(step, z, steps_of(process, ladder))[0]


def ddrm(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
    seen: Seen,
) -> jax.Array:
    """Kawar et al. 2022 (DDRM, arXiv 2201.11793), equations 7 and 8, with eta_b = 1.

    In y = z / alpha, whose noise has the level sigma / alpha: coordinates that are seen better than
    that are drawn around what was seen, the others between it and what the network says.
    """
    eta, levels = options["restoration_eta"], seen.measurement.levels
    alpha, sigma = process.scales(ladder)
    noisy = jnp.append(sigma / alpha, 0.0)

    def begin(y):
        level = noisy[0]
        rest = jnp.sqrt(jnp.maximum(level**2 - levels**2, 0))
        w = seen.value + rest / level * seen.measurement.project(y)
        return y + seen.lift(w - seen.measurement.project(y), y)

    def step(y, inputs):
        number, level, then = inputs
        log_snr = -2 * jnp.log(level)
        x, noise = denoise(process.scales(log_snr)[0] * y, all_of(log_snr, y))
        fresh = noise_of(keys, number, y.shape[1:])
        unseen = x + then * (jnp.sqrt(1 - eta**2) * noise + eta * fresh)
        told, drawn = seen.measurement.project(x), seen.measurement.project(fresh)
        well = then >= levels
        kept = jnp.sqrt(1 - eta**2) * then * (seen.value - told) / jnp.maximum(levels, 1e-12)
        spread = jnp.sqrt(jnp.maximum(then**2 - levels**2, 0))
        w = jnp.where(well, seen.value + spread * drawn, told + kept + eta * then * drawn)
        return unseen + seen.lift(w - seen.measurement.project(unseen), y), None

    y = begin(z / alpha[0])
    return ticks.scan(step, y, (jnp.arange(len(ladder)), noisy[:-1], noisy[1:]))[0]


def dps(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
    seen: Seen,
) -> jax.Array:
    """Chung et al. 2023 (DPS, arXiv 2209.14687), algorithm 1.

    After each step z moves against the gradient of the distance |y - A x(z)|, by
    `restoration_strength`, as the authors' code does; it is half of the paper's zeta'.
    """
    weights = seen.measurement.s[:, None]

    def distance(z, log_snr):
        x, noise = denoise(z, all_of(log_snr, z))
        squares = jnp.square(weights * seen.gap(x)).reshape(len(z), -1).sum(1)
        return jnp.sqrt(squares + 1e-12).sum(), (x, noise)

    def step(z, inputs):
        number, log_snr = inputs[:2]
        gradient, (x, noise) = jax.grad(distance, has_aux=True)(z, log_snr)
        mean, new = transition(inputs, x, noise, options["restoration_eta"])
        mean -= options["restoration_strength"] * gradient
        return mean + new * noise_of(keys, number, z.shape[1:]), None

    return ticks.scan(step, z, steps_of(process, ladder))[0]


def _told(denoise: Denoise, process: Process, seen: Seen, solve: Callable) -> Denoise:
    """What z is made of given what was seen: E[x | z, y] and the noise that goes with it.

    p(y | z) is a normal distribution about A E[x | z], whose covariance is what methods differ in:
    `solve(gap, variance, covariance)` divides a gap by it. Its gradient enters as the score does
    (Tweedie's formula).
    """

    def conditioned(z, log_snr):
        alpha, sigma = process.scales(log_snr.reshape(-1, *[1] * (z.ndim - 1)))
        x, back = jax.vjp(lambda z: denoise(z, log_snr)[0], z)
        # Cov[x | z] = sigma^2 / alpha dx/dz, which is symmetric.
        covariance = lambda vector: sigma**2 / alpha * back(vector)[0]  # noqa: E731
        variance = (sigma**2 / (alpha**2 + sigma**2)).reshape(-1, 1, 1)
        weights = solve(seen.gap(x), variance, covariance)
        x += covariance(seen.lift(weights, x))
        return x, (z - alpha * x) / sigma

    return conditioned


def pigdm(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
    seen: Seen,
) -> jax.Array:
    """Song et al. 2023 (PiGDM, OpenReview 9_gsMA8MRKQ), equation 7.

    x given z is taken to vary as sigma^2 / (alpha^2 + sigma^2) in every direction, which is so of
    independent standard normal data.
    """
    levels = seen.measurement.levels

    def solve(gap, variance, covariance):
        return gap / (levels**2 + variance)

    options = {**options, "eta": options["restoration_eta"]}
    return ddim(_told(denoise, process, seen, solve), process, ladder, z, keys, options)[0]


def mmps(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
    seen: Seen,
) -> jax.Array:
    """Rozet et al. 2024 (MMPS, arXiv 2405.13712), algorithm 2.

    The covariance of x given z is the network's own, by its Jacobian. It is divided by with GMRES,
    where the paper has conjugate gradients: see `_gmres`.
    """
    levels = seen.measurement.levels

    def solve(gap, variance, covariance):
        def times(weights):
            lifted = seen.measurement.lift(weights, z.shape[1:])
            return levels**2 * weights + seen.measurement.project(covariance(lifted))

        return _gmres(times, gap)

    options = {**options, "eta": options["restoration_eta"]}
    return ddim(_told(denoise, process, seen, solve), process, ladder, z, keys, options)[0]


def _gmres(times: Callable, right: jax.Array) -> jax.Array:
    """Nearly solves M x = right [B, ...] for each of a batch, by as many products with M.

    It is the x with the least |right - M x| of the Krylov space (Saad and Schultz 1986). Conjugate
    gradients need a symmetric M, and a network's Jacobian is only nearly so: with it they lead away
    again after a few steps.
    """

    def unit(vector):
        length = jnp.sqrt(jnp.square(vector).sum((1, 2)))
        return vector / jnp.maximum(length, 1e-20)[:, None, None], length

    def step(basis, number):
        new, column = times(basis[number]), 0.0
        for _ in range(2):  # once leaves what is rounded off
            along = jnp.einsum("kbrc,brc->kb", basis, new)
            new -= jnp.einsum("kb,kbrc->brc", along, basis)
            column += along
        new, length = unit(new)
        return basis.at[number + 1].set(new), column.at[number + 1].set(length)

    first, length = unit(right)
    basis = jnp.zeros((_SOLVER_STEPS + 1, *right.shape)).at[0].set(first)
    basis, columns = jax.lax.scan(step, basis, jnp.arange(_SOLVER_STEPS))
    # M basis[:-1] is basis times `columns`, so that the gap is as long as in these coordinates.
    wanted = jnp.zeros(columns.shape[1:]).at[0].set(length)
    weights = jax.vmap(lambda a, b: jnp.linalg.lstsq(a, b)[0])(columns.transpose(2, 1, 0), wanted.T)
    return jnp.einsum("bk,kbrc->brc", weights, basis[:-1])


def tds(
    denoise: Denoise,
    process: Process,
    ladder: jax.Array,
    z: jax.Array,
    keys: jax.Array,
    options: Options,
    seen: Seen,
) -> jax.Array:
    """Wu et al. 2023 (TDS, arXiv 2306.17775), algorithm 1: exact as `particles` grow.

    Each draw has particles of its own. They move as PiGDM's do and are weighted by what that got
    wrong, so that in the end one of them by its weight is a draw of the posterior.
    """
    num, shape, batch = options["particles"], z.shape[1:], len(z)
    levels = jnp.maximum(seen.measurement.levels, _LEAST_LEVEL)
    many = Seen(seen.measurement, jnp.repeat(seen.value, num, 0))
    keys = jax.vmap(lambda key: keys_lib.per_example(key, jnp.arange(num)))(keys).reshape(-1)
    z = keys_lib.normal(keys_lib.named(keys, "start"), shape)
    z *= jnp.sqrt(sum(jnp.square(scale) for scale in process.scales(ladder[0])))

    def twist(x, variance):
        """ln p(y | z), up to what all particles share."""
        squares = jnp.square(many.gap(x)) / variance
        return -0.5 * squares.reshape(len(x), -1).sum(1)

    def looked(z, log_snr, alpha, sigma):
        """x given z, x given z and y, and ln p(y | z)."""
        x, back = jax.vjp(lambda z: denoise(z, all_of(log_snr, z))[0], z)
        variance = levels**2 + sigma**2 / (alpha**2 + sigma**2)
        (pull,) = back(many.lift(many.gap(x) / variance, z))
        return x, x + sigma**2 / alpha * pull, twist(x, variance)

    def step(carry, inputs):
        z, log_w, before = carry
        number, log_snr, alpha, sigma = inputs[:4]
        x, told, value = looked(z, log_snr, alpha, sigma)
        log_w += value - before
        own = keys_lib.named(keys.reshape(batch, num)[:, 0], "resampling")
        order, log_w = _resample(keys_lib.fold(own, number), log_w, num)
        z, x, told, value = (part[order] for part in (z, x, told, value))
        means = []
        for mean in (x, told):
            mean, new = transition(inputs, mean, (z - alpha * mean) / sigma, 1.0)
            means.append(mean)
        plain, moved = means
        drawn = moved + new * noise_of(keys_lib.named(keys, "steps"), number, shape)
        off = jnp.square(drawn - moved) - jnp.square(drawn - plain)
        log_w += off.reshape(len(z), -1).sum(1) / (2 * new**2)
        return (drawn, log_w, value), None

    zeros = jnp.zeros(len(z))
    most = tuple(part[:-1] for part in steps_of(process, ladder))
    (z, log_w, before), _ = ticks.scan(step, (z, zeros, zeros), most)
    # What is behind the least noise is x, as likely as the measurement makes it.
    x = denoise(z, all_of(ladder[-1], z))[0]
    log_w += twist(x, levels**2) - before
    chosen = keys_lib.named(keys.reshape(batch, num)[:, 0], "chosen")
    number = jax.vmap(jax.random.categorical)(chosen, log_w.reshape(batch, num))
    return x.reshape(batch, num, *shape)[jnp.arange(batch), number]


def _resample(keys: jax.Array, log_w: jax.Array, num: int) -> tuple[jax.Array, jax.Array]:
    """Which of the particles go on, and their weights: each [B * num].

    Those of an example whose effective number is below half are drawn anew by their weights, at
    equal steps from one random beginning.
    """
    log_w = log_w.reshape(-1, num)
    share = jax.nn.softmax(log_w, 1)
    places = (jnp.arange(num) + keys_lib.uniform(keys)[:, None]) / num
    drawn = jax.vmap(jnp.searchsorted)(jnp.cumsum(share, 1), places)
    poor = jnp.square(share).sum(1, keepdims=True) * num > 2
    order = jnp.where(poor, jnp.minimum(drawn, num - 1), jnp.arange(num))
    order += num * jnp.arange(len(log_w))[:, None]
    return order.reshape(-1), jnp.where(poor, 0.0, log_w).reshape(-1)


METHODS = {
    "replacement": replacement,
    "ddrm": ddrm,
    "dps": dps,
    "pigdm": pigdm,
    "mmps": mmps,
    "tds": tds,
}
