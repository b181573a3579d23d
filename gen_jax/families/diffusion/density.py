"""The density of data by the probability-flow ODE of a denoiser."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.families.diffusion.process import Process
from gen_jax.families.diffusion.samplers import Denoise

# Up to so many dimensions the trace is exact; beyond it is Hutchinson's estimate.
_EXACT_TRACE = 16


def log_density(
    denoise: Denoise,
    process: Process,
    x: jax.Array,
    signs: jax.Array,
    ends: tuple[jax.Array, jax.Array],
    steps: int,
) -> jax.Array:
    """ln p(x) in nats, [B]: Song et al. 2021 (arXiv 2011.13456), equation 39.

    By Runge-Kutta's rule of order 4 at equal steps of ln(sigma / alpha), of y = z / alpha.

    Args:
      denoise: as samplers are given it.
      process: of the noise.
      x: [B, ...], as z is without noise.
      signs: of Hutchinson's estimate, 1 or -1, in the shape of x; read beyond 16 dimensions.
      ends: l of the least and of the most noise.
      steps: of the ODE, with four calls of the network in each.
    """

    slope = _slope(denoise, process)
    first, last = (-end / 2 for end in ends)

    def both(along, state):
        return with_trace(lambda y: slope(along, y), state[0], signs)

    y, total = _solve(both, (x, jnp.zeros(len(x))), first, last, steps)
    variance = 1 + jnp.exp(2 * last)
    squares = jnp.square(y).reshape(len(y), -1).sum(1) / variance
    size = math.prod(x.shape[1:])
    return total - 0.5 * (squares + size * jnp.log(2 * jnp.pi * variance))


def transport(
    denoise: Denoise,
    process: Process,
    y: jax.Array,
    ends: tuple[jax.Array, jax.Array],
    steps: int,
) -> jax.Array:
    """y = z / alpha [B, ...] at the l of the first end -> what the ODE makes of it at the other."""
    slope = _slope(denoise, process)
    first, last = (-end / 2 for end in ends)
    return _solve(lambda along, state: (slope(along, state[0]),), (y,), first, last, steps)[0]


def _slope(denoise: Denoise, process: Process) -> Callable:
    """dy/d ln s = s noise(y), with s = sigma / alpha."""

    def slope(along, y):
        log_snr = jnp.full(len(y), -2 * along)
        alpha = process.scales(log_snr[0])[0]
        return jnp.exp(along) * denoise(alpha * y, log_snr)[1]

    return slope


def _solve(slope: Callable, begin: tuple, first: jax.Array, last: jax.Array, steps: int) -> tuple:
    """The arrays of `begin` moved by their slopes, by Runge-Kutta's rule of order 4."""
    width = (last - first) / steps

    def ahead(state, by, slopes):
        return tuple(x + by * k for x, k in zip(state, slopes, strict=True))

    def step(state, number):
        along = first + number * width
        one = slope(along, state)
        two = slope(along + width / 2, ahead(state, width / 2, one))
        three = slope(along + width / 2, ahead(state, width / 2, two))
        four = slope(along + width, ahead(state, width, three))
        mean = [
            (a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(one, two, three, four, strict=True)
        ]
        return ahead(state, width, mean), None

    return jax.lax.scan(step, begin, jnp.arange(steps))[0]


def with_trace(
    moves: Callable[[jax.Array], jax.Array], y: jax.Array, signs: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """moves(y) [B, ...] and the trace of its Jacobian [B]; see `log_density`."""
    size = math.prod(y.shape[1:])
    if size > _EXACT_TRACE:
        moved, turned = jax.jvp(moves, (y,), (signs,))
        return moved, (signs * turned).reshape(len(y), -1).sum(1)
    moved, turn = jax.linearize(moves, y)

    def entry(number):
        one = jax.nn.one_hot(number, size).reshape(1, *y.shape[1:])
        return (turn(jnp.broadcast_to(one, y.shape)) * one).reshape(len(y), -1).sum(1)

    return moved, sum(entry(number) for number in range(size))
