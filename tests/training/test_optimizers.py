"""Optimisers and schedules against numpy by hand and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from gen_jax.errors import UserError
from gen_jax.training import optimizers


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


def test_each_array_of_a_normalised_gradient_has_norm_one():
    optimizer = optimizers.make(toy.optim(lr=1.0, normalize=True), 10, "net")
    grads = {"a": jnp.array([[3.0, 0.0], [0.0, 4.0]]), "b": jnp.array([-1e-3]), "c": jnp.zeros(2)}
    params = jax.tree.map(jnp.zeros_like, grads)
    params, _ = optimizer.update(grads, optimizer.init(params), params, jnp.int32(0))
    np.testing.assert_allclose(params["a"], [[-0.6, 0], [0, -0.8]], rtol=1e-5)
    np.testing.assert_allclose(params["b"], [1.0], rtol=1e-5)
    np.testing.assert_array_equal(params["c"], [0, 0])


def test_weight_decay_is_decoupled():
    optimizer = optimizers.make(toy.optim(lr=0.1, weight_decay=0.01), 10, "net")
    params = {"kernel": jnp.array([2.0])}
    new, _ = optimizer.update({"kernel": jnp.zeros(1)}, optimizer.init(params), params, 0)
    np.testing.assert_allclose(new["kernel"], 2.0 - 0.1 * 0.01 * 2.0, rtol=1e-6)


def test_weight_decay_is_of_weights_alone():
    config = toy.optim(name="sgd", lr=1.0, b1=0.0, weight_decay=0.5)
    optimizer = optimizers.make(config, 10, "net", undecayed=("prior",))
    leaves = {"kernel": 1.0, "embedding": 1.0, "bias": 1.0, "scale": 1.0, "mean": 1.0}
    params = {"layer": leaves, "prior": {"parameters": leaves}}
    params = jax.tree.map(jnp.float32, params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    for one in (optimizer, optimizer.with_value("lr", 1.0)):
        new, _ = one.update(zeros, one.init(params), params, 0)
        assert new["layer"] == leaves | {"kernel": 0.5, "embedding": 0.5}
        assert new["prior"] == params["prior"]


def test_cosine_with_warmup():
    make = optimizers.make(toy.optim(lr=1.0, schedule="cosine", warmup_steps=10), 110, "net")
    rates = [float(make.learning_rate(step)) for step in (0, 4, 9, 10, 60, 110)]
    np.testing.assert_allclose(rates, [0.1, 0.5, 1.0, 1.0, 0.5, 0.0], atol=1e-6)


def test_burn_in_of_the_learning_rate_ends_before_the_run():
    make = optimizers.make(
        toy.optim(lr=1.0, schedule="cosine", final_lr=0.2, decay_steps=100), 1000, "net"
    )
    rates = [float(make.learning_rate(step)) for step in (0, 50, 100, 999)]
    np.testing.assert_allclose(rates, [1.0, 0.6, 0.2, 0.2], rtol=1e-5)


def test_adam_with_a_burn_in_of_b2_by_hand():
    config = toy.optim(name="adam", b1=0.0, b2=0.9, final_b2=0.99, eps=0.0, decay_steps=4)
    optimizer = optimizers.make(config, 10, "net")
    params, p, v = jnp.array([1.0]), 1.0, 0.0
    state = optimizer.init(params)
    for step in range(6):
        grad = 0.3 * (step + 1)
        params, state = optimizer.update(jnp.float32([grad]), state, params, step)
        b2 = 0.99 + (0.9 - 0.99) * (1 + np.cos(np.pi * min(step / 4, 1))) / 2
        v = b2 * v + (1 - b2) * grad**2
        p -= 0.1 * grad / np.sqrt(v / (1 - b2 ** (step + 1)))
    np.testing.assert_allclose(params, [p], rtol=1e-5)


def test_moving_average_halves_its_distance_in_a_half_life():
    optimizer = optimizers.make(toy.optim(ema_half_life=7.0), 10, "net")
    ema = 0.0
    for step in range(7):
        ema = optimizer.average(ema, 1.0, step)
    np.testing.assert_allclose(ema, 0.5, rtol=1e-5)


def test_half_life_rises_from_zero():
    config = toy.optim(ema_half_life=8.0, ema_burn_in_steps=10)
    optimizer = optimizers.make(config, 100, "net")
    moved = [float(optimizer.average(0.0, 1.0, step)) for step in (0, 5, 10, 50)]
    np.testing.assert_allclose(moved, [1, *(1 - 0.5 ** (1 / np.array([4.0, 8, 8])))], rtol=1e-4)


def test_override_for_one_network():
    config = toy.optim(lr=0.1, critic={"lr": 0.4})
    assert float(optimizers.make(config, 10, "critic").learning_rate(0)) == pytest.approx(0.4)
    assert float(optimizers.make(config, 10, "other").learning_rate(0)) == pytest.approx(0.1)


def test_unknown_key_of_one_network():
    with pytest.raises(UserError, match=r"unknown key optim\.critic\.lrr"):
        optimizers.make(toy.optim(critic={"lrr": 0.4}), 10, "critic")


@pytest.mark.parametrize("key", ["name", "schedule"])
def test_unknown_names_list_the_valid_ones(key):
    with pytest.raises(UserError, match=rf"optim\.{key} 'x'; valid are: \w+, \w+"):
        optimizers.make(toy.optim(**{key: "x"}), 10, "net")


def test_settings_of_a_network_that_is_not_there():
    config = toy.optim(generatr={"lr": 0.4})
    optimizers.check_sections(config, ["generatr"])
    with pytest.raises(UserError, match=r"optim\.generatr is of no network; .*: critic, net"):
        optimizers.check_sections(config, ["net", "critic"])
