"""The density of data by the probability-flow ODE of a denoiser."""

import math

import jax
import jax.numpy as jnp

from gen_jax.families.diffusion.process import Process
from gen_jax.families.diffusion.samplers import Denoise, probability_flow
from gen_jax.nn import ode


def log_density(
    denoise: Denoise,
    process: Process,
    x: jax.Array,
    signs: jax.Array,
    ends: tuple[jax.Array, jax.Array],
    steps: int,
) -> jax.Array:
    """ln p(x) in nats, [B]: Song et al. 2021 (arXiv 2011.13456), equation 39.

    By Runge-Kutta's rule at equal steps of ln(sigma / alpha), of y = z / alpha.

    Args:
      denoise: as samplers are given it.
      process: of the noise.
      x: [B, ...], as z is without noise.
      signs: of Hutchinson's estimate, 1 or -1, in the shape of x; read beyond 16 dimensions.
      ends: l of the least and of the most noise.
      steps: of the ODE, with four calls of the network in each.
    """
    slope = probability_flow(denoise, process)
    first, last = (-end / 2 for end in ends)

    def both(along, state):
        return ode.with_trace(lambda y: slope(along, y), state[0], signs)

    y, total = ode.runge_kutta(both, (x, jnp.zeros(len(x))), first, last, steps)
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
    slope = probability_flow(denoise, process)
    first, last = (-end / 2 for end in ends)
    return ode.runge_kutta(
        lambda along, state: (slope(along, state[0]),), (y,), first, last, steps
    )[0]
