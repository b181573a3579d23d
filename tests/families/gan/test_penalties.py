"""Penalties against critics whose gradient is known in closed form, and against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import keys, parallel
from gen_jax.families.gan.penalties import PENALTIES, logits_and_penalty

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(2, 6, 3)).astype(np.float32)
KEYS = keys.per_example(keys.stream(0, "test"), jnp.arange(6))
WEIGHTS = np.array([0.6, -2.0, 1.1], np.float32)


def on_one_device(function, *inputs):
    """Within the axis over devices, as in a step."""
    mapped = jax.vmap(function, axis_name=parallel.AXIS)
    return jax.tree.map(lambda x: x[0], mapped(*jax.tree.map(lambda x: x[None], inputs)))


def evaluate(critic, name):
    def run(real, fake, each):
        return logits_and_penalty(critic, real, fake, PENALTIES[name], each)

    return on_one_device(run, jnp.asarray(REAL), jnp.asarray(FAKE), KEYS)


def linear(x):
    return {"logits": x @ WEIGHTS}


def quadratic(x):
    """Its gradient at x is x times twice the weights."""
    return {"logits": jnp.square(x) @ WEIGHTS, "label_logits": x}


NORM = float(np.linalg.norm(WEIGHTS))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", 0.0),
        ("wgan_gp", (NORM - 1) ** 2),
        ("dragan", (NORM - 1) ** 2),
        ("r1", NORM**2 / 2),
        ("r2", NORM**2 / 2),
        ("r1_r2", NORM**2),
    ],
)
def test_linear_critic(name, expected):
    _, _, total = evaluate(linear, name)
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-6)


def squares(x):
    return np.square(2 * WEIGHTS * x).sum(-1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r1", squares(REAL).mean() / 2),
        ("r2", squares(FAKE).mean() / 2),
        ("r1_r2", squares(REAL).mean() / 2 + squares(FAKE).mean() / 2),
    ],
)
def test_quadratic_critic_at_real_and_fake(name, expected):
    _, _, total = evaluate(quadratic, name)
    np.testing.assert_allclose(total, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["wgan_gp", "dragan"])
def test_quadratic_critic_at_other_points(name):
    other = on_one_device(PENALTIES[name].other, jnp.asarray(REAL), jnp.asarray(FAKE), KEYS)
    _, _, total = evaluate(quadratic, name)
    expected = np.square(np.sqrt(squares(np.asarray(other))) - 1).mean()
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def test_points_between_lie_on_the_line():
    other = np.asarray(PENALTIES["wgan_gp"].other(jnp.asarray(REAL), jnp.asarray(FAKE), KEYS))
    part = (other - REAL) / (FAKE - REAL)
    np.testing.assert_allclose(part, part[:, :1].repeat(3, 1), rtol=1e-3)
    assert (part >= 0).all() and (part <= 1).all() and np.ptp(part) > 0.2


def test_points_around_are_within_half_a_standard_deviation():
    real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
    moved = np.asarray(on_one_device(PENALTIES["dragan"].other, real, fake, KEYS)) - REAL
    assert (moved >= -1e-6).all() and moved.max() < 0.5 * REAL.std() and moved.max() > 0


@pytest.mark.parametrize("name", PENALTIES)
def test_outputs_are_those_of_plain_calls(name):
    at_real, at_fake, _ = evaluate(quadratic, name)
    for found, x in ((at_real, REAL), (at_fake, FAKE)):
        for key, value in quadratic(x).items():
            np.testing.assert_allclose(found[key], value, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(PENALTIES) - {"none"}))
def test_gradient_in_the_weights_by_differences(name):
    """The second derivative: what the discriminator's update really uses."""

    def total(weights):
        def critic(x):
            return {"logits": jnp.tanh(x @ weights) + jnp.square(x) @ weights}

        return evaluate(critic, name)[2]

    weights = jnp.asarray(WEIGHTS)
    with jax.enable_x64():
        found = jax.grad(total)(weights.astype(jnp.float64))
        for i in range(3):
            step = np.zeros(3)
            step[i] = 1e-4
            slope = (total(WEIGHTS + step) - total(WEIGHTS - step)) / 2e-4
            np.testing.assert_allclose(found[i], slope, rtol=1e-2)
