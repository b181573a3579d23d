"""Exponential linear units (Clevert et al. 2016, arXiv 1511.07289), fast on CPU.

`jnp.expm1` takes twice as long there as `jnp.exp`. The difference of `jnp.exp` and 1 is wrong near
0 by the rounding of a number near 1, at most 1e-7.
"""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def elu(x: jax.Array) -> jax.Array:
    """x above 0 and exp(x) - 1 below, elementwise."""
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


# Exact at 0 too, where the derivative of a minimum is a convention.
elu.defjvps(lambda tangent, _, x: tangent * jnp.where(x > 0, 1, jnp.exp(jnp.minimum(x, 0))))


@jax.custom_jvp
def concat_elu(x: jax.Array) -> jax.Array:
    """elu(x) and elu(-x) side by side, [..., F] -> [..., 2 F], of one exponential."""
    below = jnp.exp(-jnp.abs(x)) - 1
    return jnp.concatenate([jnp.where(x > 0, x, below), jnp.where(x < 0, -x, below)], -1)


@concat_elu.defjvp
def _(primals, tangents):
    (x,), (tangent,) = primals, tangents
    slope = jnp.exp(-jnp.abs(x))
    up, down = jnp.where(x > 0, 1, slope), jnp.where(x < 0, 1, slope)
    return concat_elu(x), jnp.concatenate([up * tangent, -down * tangent], -1)
