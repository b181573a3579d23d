"""Dense layers over the last of several axes."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gen_jax
from gen_jax.nn.dense import Dense
from gen_jax.nn.masked import MaskedDense

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (2, 4, 5, 3), (0, 4, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_values_and_gradients_are_those_of_flax(shape, bias):
    x = jax.random.normal(KEY, shape)
    own, other = Dense(7, use_bias=bias), nn.Dense(7, use_bias=bias)
    params = own.init(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, params, other.init(KEY, x))
    np.testing.assert_allclose(own.apply(params, x), other.apply(params, x), rtol=1e-6)

    def slopes(layer):
        return jax.grad(lambda p, x: jnp.square(layer.apply(p, x)).sum(), (0, 1))(params, x)

    pairs = zip(jax.tree.leaves(slopes(own)), jax.tree.leaves(slopes(other)), strict=True)
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


class _Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Dense(3)(Dense(4)(x))


def test_layers_have_the_names_of_those_of_flax():
    assert set(_Inner().init(KEY, jnp.zeros((2, 2)))["params"]) == {"Dense_0", "Dense_1"}


def test_every_product_is_of_two_matrices():
    x, mask = jnp.zeros((2, 4, 5, 3)), jnp.ones((3, 7))
    dense, masked = Dense(7), MaskedDense(7, "float32")

    def loss(first, second, x):
        return (dense.apply(first, x) * masked.apply(second, x, mask)).sum()

    slopes = jax.grad(loss, (0, 1, 2))
    text = str(jax.make_jaxpr(slopes)(dense.init(KEY, x), masked.init(KEY, x, mask), x))
    products = [line for line in text.splitlines() if "dot_general" in line]
    # Forwards, and the gradients of the kernel and of x.
    assert len(products) == 6
    assert all(line.split(":f32[")[1].split("]")[0].count(",") == 1 for line in products)


def test_no_network_has_another():
    package = Path(gen_jax.__file__).parent
    named = [path for path in package.rglob("*.py") if "nn.Dense(" in path.read_text()]
    assert [path.name for path in named] == [], "nn.Dense is slow on CPU: use gen_jax.nn.dense"
