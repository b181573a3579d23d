"""Optimisers and schedules against numpy by hand and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
import toy

from gen_jax import optimizers
from gen_jax.errors import UserError


def test_adam_by_hand():
    optimizer = optimizers.make(toy.optim(name="adam", b1=0.9, b2=0.99, eps=1e-4), 10, "net")
    params = jnp.array([1.0, -2.0])
    state = optimizer.init(params)
    p, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for step in range(5):
        grad = np.array([0.3, -0.1]) * (step + 1)
        params, state = optimizer.update(jnp.float32(grad), state, params, step)
        m, v = 0.9 * m + 0.1 * grad, 0.99 * v + 0.01 * grad**2
        unbiased = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.99 ** (step + 1))
        p = p - 0.1 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-4)
    np.testing.assert_allclose(params, p, rtol=1e-5)


def test_clipping_bounds_the_norm_and_keeps_the_direction():
    optimizer = optimizers.make(toy.optim(lr=1.0, clip_norm=0.5), 10, "net")
    params = jnp.zeros(2)
    long, _ = optimizer.update(jnp.array([3.0, 4.0]), optimizer.init(params), params, 0)
    short, _ = optimizer.update(jnp.array([0.03, 0.04]), optimizer.init(params), params, 0)
    np.testing.assert_allclose(long, [-0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose(short, [-0.03, -0.04], rtol=1e-6)


def test_weight_decay_is_decoupled():
    optimizer = optimizers.make(toy.optim(lr=0.1, weight_decay=0.01), 10, "net")
    params = jnp.array([2.0])
    new, _ = optimizer.update(jnp.zeros(1), optimizer.init(params), params, 0)
    np.testing.assert_allclose(new, 2.0 - 0.1 * 0.01 * 2.0, rtol=1e-6)


def test_cosine_with_warmup():
    make = optimizers.make(toy.optim(lr=1.0, schedule="cosine", warmup_steps=10), 110, "net")
    rates = [float(make.learning_rate(step)) for step in (0, 4, 9, 10, 60, 110)]
    np.testing.assert_allclose(rates, [0.1, 0.5, 1.0, 1.0, 0.5, 0.0], atol=1e-6)


def test_override_for_one_network():
    config = toy.optim(lr=0.1, critic={"lr": 0.4})
    assert float(optimizers.make(config, 10, "critic").learning_rate(0)) == pytest.approx(0.4)
    assert float(optimizers.make(config, 10, "other").learning_rate(0)) == pytest.approx(0.1)


@pytest.mark.parametrize("key", ["name", "schedule"])
def test_unknown_names_list_the_valid_ones(key):
    with pytest.raises(UserError, match=rf"optim\.{key} 'x'; valid are: \w+, \w+"):
        optimizers.make(toy.optim(**{key: "x"}), 10, "net")
