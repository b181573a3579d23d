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

    By Runge-Kutta's rule of order 4 at equal steps of ln(sigma / alpha), of y = z / alpha, whose
    slope is the noise.

    Args:
      denoise: as samplers are given it.
      process: of the noise.
      x: [B, ...], as z is without noise.
      signs: of Hutchinson's estimate, 1 or -1, in the shape of x; read beyond 16 dimensions.
      ends: l of the least and of the most noise.
      steps: of the ODE, with four calls of the network in each.
    """

    def slope(along, y):
        """dy/d ln s = s noise(y), with s = sigma / alpha, and its trace."""
        log_snr = jnp.full(len(y), -2 * along)
        alpha = process.scales(log_snr[0])[0]
        moves = lambda y: jnp.exp(along) * denoise(alpha * y, log_snr)[1]  # noqa: E731
        return with_trace(moves, y, signs)

    first, last = (-end / 2 for end in ends)
    width = (last - first) / steps

    def step(carry, number):
        y, total = carry
        along = first + number * width
        one, a = slope(along, y)
        two, b = slope(along + width / 2, y + width / 2 * one)
        three, c = slope(along + width / 2, y + width / 2 * two)
        four, d = slope(along + width, y + width * three)
        y += width / 6 * (one + 2 * two + 2 * three + four)
        return (y, total + width / 6 * (a + 2 * b + 2 * c + d)), None

    (y, total), _ = jax.lax.scan(step, (x, jnp.zeros(len(x))), jnp.arange(steps))
    variance = 1 + jnp.exp(2 * last)
    squares = jnp.square(y).reshape(len(y), -1).sum(1) / variance
    size = math.prod(x.shape[1:])
    return total - 0.5 * (squares + size * jnp.log(2 * jnp.pi * variance))


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
