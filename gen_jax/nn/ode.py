"""Ordinary differential equations: Runge-Kutta's rule, and how they change a density."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

# Up to so many dimensions a trace is exact; beyond it is Hutchinson's estimate.
EXACT_TRACE = 16


def runge_kutta(
    slope: Callable,
    begin: tuple[jax.Array, ...],
    first: jax.typing.ArrayLike,
    last: jax.typing.ArrayLike,
    steps: int,
) -> tuple[jax.Array, ...]:
    """The arrays of `begin` at time `last`, by Runge-Kutta's rule of order 4 at equal steps.

    Args:
      slope: `(time, state)` -> the slopes of the arrays of a state.
      begin: the state at time `first`.
      first: a time.
      last: a time, before it or after it.
      steps: of the rule, with four slopes in each.
    """
    width = (last - first) / steps

    def ahead(state, by, slopes):
        return tuple(x + by * k for x, k in zip(state, slopes, strict=True))

    def step(state, number):
        time = first + number * width

        def stage(before, inputs):
            slopes, mean = before
            part, weight = inputs
            slopes = slope(time + part * width, ahead(state, part * width, slopes))
            return (slopes, ahead(mean, weight, slopes)), None

        (_, mean), _ = jax.lax.scan(stage, (nothing, nothing), (parts, weights))
        return ahead(state, width, mean), None

    # A loop over the rule's four stages, so that the slope, often a network, is compiled once.
    nothing = jax.tree.map(jnp.zeros_like, begin)
    parts, weights = jnp.array([0.0, 0.5, 0.5, 1.0]), jnp.array([1.0, 2.0, 2.0, 1.0]) / 6
    return jax.lax.scan(step, begin, jnp.arange(steps))[0]


def with_trace(
    moves: Callable[[jax.Array], jax.Array], y: jax.Array, signs: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """moves(y) [B, ...] and the trace of its Jacobian [B].

    The logarithm of a density falls along an ODE at the rate of that trace (Chen et al. 2018, arXiv
    1806.07366, theorem 1).

    Args:
      moves: a slope, each example by itself.
      y: [B, ...].
      signs: of Hutchinson's estimate (FFJORD, Grathwohl et al. 2019, arXiv 1810.01367, equation 7),
        1 or -1 in the shape of y; read beyond `EXACT_TRACE` dimensions.
    """
    size = math.prod(y.shape[1:])
    if size > EXACT_TRACE:
        moved, turned = jax.jvp(moves, (y,), (signs,))
        return moved, (signs * turned).reshape(len(y), -1).sum(1)
    moved, turn = jax.linearize(moves, y)

    def entry(number):
        one = jax.nn.one_hot(number, size, dtype=y.dtype).reshape(1, *y.shape[1:])
        return (turn(jnp.broadcast_to(one, y.shape)) * one).reshape(len(y), -1).sum(1)

    return moved, sum(entry(number) for number in range(size))
