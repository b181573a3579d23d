"""ELUs against those of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gen_jax.nn.elu import concat_elu, elu

X = jnp.float32([-100.0, -3.0, -0.5, -1e-4, -1e-9, 0.0, 1e-9, 1e-4, 0.5, 3.0, 100.0])


def _concatenated(x):
    return jax.nn.elu(jnp.concatenate([x, -x], -1))


@pytest.mark.parametrize(("own", "other"), [(elu, jax.nn.elu), (concat_elu, _concatenated)])
def test_values_and_slopes_are_those_of_jax(own, other):
    np.testing.assert_allclose(own(X), other(X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(jax.jacobian(own)(X), jax.jacobian(other)(X), rtol=1e-6, atol=1e-7)
    assert own(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("function", [elu, concat_elu])
def test_derivatives_of_the_second_order(function):
    away = X[jnp.abs(X) > 0.1]  # at 0 there is none
    check_grads(function, (away / 3,), order=2, eps=1e-2, rtol=0.02, atol=1e-3)
