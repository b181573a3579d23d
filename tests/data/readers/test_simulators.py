"""Simulators against closed forms, and the benchmark's posteriors from a wheel."""

import jax
import numpy as np
import pytest
from scipy import stats
from simulator_files import write_wheel

from gen_jax import config as config_lib
from gen_jax.data import sources
from gen_jax.data.readers import simulators
from gen_jax.errors import UserError

KEY = jax.random.key(3)


def data(name="simulator:two_moons", **changes):
    config = config_lib.load_file("experiments/flow_posterior.py").data
    config.update({"name": name, "simulations": 500, "num_validation": 50, **changes})
    return config


def at(name, parameters, num=50_000):
    """Observations [num, C] of one set of parameters."""
    of_task = simulators.TASKS[name]
    repeated = np.broadcast_to(np.float32(parameters), (num, of_task.size))
    return np.asarray(of_task.simulate(KEY, repeated), np.float64)


def test_two_moons_lie_on_a_half_circle():
    first, second = 0.3, -0.5
    x = at("two_moons", (first, second))
    x -= [-abs(first + second) / 2**0.5 + 0.25, (second - first) / 2**0.5]
    radius, angle = np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0])
    assert radius.mean() == pytest.approx(0.1, abs=3e-4)
    assert radius.std() == pytest.approx(0.01, rel=0.03)
    assert stats.kstest(angle, stats.uniform(-np.pi / 2, np.pi).cdf).pvalue > 1e-3


def test_a_mixture_has_one_mean_and_two_widths():
    x = at("gaussian_mixture", (2.0, -7.0)) - [2.0, -7.0]
    mixture = lambda v: 0.5 * stats.norm.cdf(v) + 0.5 * stats.norm(0, 0.1).cdf(v)  # noqa: E731
    for column in x.T:
        assert stats.kstest(column, mixture).pvalue > 1e-3
    wide = np.abs(x) > 0.5  # both numbers of a draw are of one part
    assert (wide[:, 0] & wide[:, 1]).mean() > 1.5 * wide[:, 0].mean() * wide[:, 1].mean()


def test_slcp_is_four_draws_of_one_gaussian():
    parameters = (1.0, -2.0, 0.8, -1.1, 0.6)
    x = at("slcp", parameters)
    first, second, correlation = 0.64, 1.21, np.tanh(0.6)
    cov = [
        [first**2, correlation * first * second],
        [correlation * first * second, second**2],
    ]
    expected = np.kron(np.eye(4), cov)
    np.testing.assert_allclose(x.mean(0), [1, -2] * 4, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), expected, atol=0.03)


def test_the_linear_gaussians_posterior_is_half_the_observation():
    config = data("simulator:gaussian_linear", simulations=40_000)
    train = simulators.read(config).splits["train"].gather(np.arange(40_000))
    x, observation = train["x"], train["observation"]
    slope = (x * observation).mean(0) / (observation**2).mean(0)
    np.testing.assert_allclose(slope, 0.5, atol=0.02)
    np.testing.assert_allclose((x - 0.5 * observation).var(0), 0.05, rtol=0.05)


@pytest.mark.parametrize("name", simulators.TASKS)
def test_draws_are_within_the_prior_and_as_many_as_asked_for(name):
    dataset = sources.load(data(f"simulator:{name}"))
    of_task = simulators.TASKS[name]
    assert {s: len(e) for s, e in dataset.splits.items()} == {
        **{"train": 450, "validation": 50, "test": 10_000}
    }
    assert dataset.spec.shape == (of_task.size,)
    batch = dataset.batch("test", np.arange(1_000))
    assert batch["observation"].shape == (1_000, of_task.observed)
    assert of_task.has(np.asarray(batch["x"])).all()
    if of_task.bound is not None:
        beyond = np.zeros((1, of_task.size))
        beyond[0, -1] = 1.01 * of_task.bound
        assert not of_task.has(beyond).any()


def test_an_unknown_simulator_is_refused():
    with pytest.raises(UserError, match="no simulator 'two_moon'; did you mean two_moons"):
        sources.load(data("simulator:two_moon"))


def test_posteriors_are_read_from_a_wheel(tmp_path):
    def rows(number):
        return np.array([number, 0.5]), number + np.arange(6.0).reshape(3, 2)

    write_wheel(tmp_path, "two_moons", rows)
    found = simulators.references("simulator:two_moons", tmp_path)
    assert len(found) == 10
    np.testing.assert_array_equal(found[3][0], [4, 0.5])
    np.testing.assert_array_equal(found[3][1], 4 + np.arange(6.0).reshape(3, 2))
    with pytest.raises(UserError, match="is damaged"):
        simulators.references("simulator:slcp", tmp_path)


def test_a_wheel_that_is_missing_is_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"not in .*; pip download --no-deps sbibm"):
        simulators.references("simulator:slcp", tmp_path)
