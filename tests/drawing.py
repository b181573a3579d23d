"""Samples of a family, as an evaluator asks for them."""

import jax.numpy as jnp

from gen_jax import keys as keys_lib


def sample(family, params, extra, key, num, label=None, temperature=1.0):
    """`num` samples; with `label` [num] of a class-conditional family."""
    condition = {} if label is None else {"label": jnp.asarray(label)}
    each = keys_lib.per_example(key, jnp.arange(num))
    return family.sample(params, extra, each, condition, {"temperature": temperature})
