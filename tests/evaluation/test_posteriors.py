"""A classifier that tells samples apart, against the best one there is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats
from simulator_files import write_wheel

from gen_jax import evaluation
from gen_jax import keys as keys_lib
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.readers import simulators
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, posteriors

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_accuracy_is_that_of_the_best_classifier(shift):
    first = RNG.normal(3, 10, (1_500, 2))
    second = RNG.normal((3 + 10 * shift, 3), 10, (1_500, 2))
    best = stats.norm.cdf(shift / 2)
    assert posteriors.two_sample_accuracy(first, second) == pytest.approx(best, abs=0.03)


@dataclasses.dataclass(frozen=True)
class Linear:
    """The exact posterior of the task gaussian_linear, or one that is `sharper`."""

    sharper: float = 1.0
    given: tuple[str, ...] = ("observation",)

    def sample(self, params, extra, keys, condition, options):
        noise = keys_lib.normal(keys, (10,)) * jnp.sqrt(0.05) / self.sharper
        return condition["observation"] / 2 + noise


def context(family, folder, name="simulator:gaussian_linear", size=10, num=120):
    spec = DataSpec("real", (size,), given={"observation": DataSpec("real", (size,))})
    x = np.zeros((4, size), np.float32)
    examples = ArrayExamples("test", {"x": x, "observation": x})
    settings = ConfigDict(
        {"batch_size": 4, "num_examples": 0, "posterior_samples": num, "posteriors": str(folder)}
    )
    dataset = Dataset(name, spec, {"test": examples})
    return Context(Subject(family, spec, {}, {}), dataset, "test", settings)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    def rows(number):
        observation = RNG.normal(size=10)
        return observation, observation / 2 + 0.05**0.5 * RNG.normal(size=(300, 10))

    folder = tmp_path_factory.mktemp("wheel")
    write_wheel(folder, "gaussian_linear", rows)
    return folder


def test_the_exact_posterior_cannot_be_told_and_another_can(wheel, monkeypatch):
    monkeypatch.setattr(simulators, "NUM_OBSERVATIONS", 2)  # each takes seconds
    exact = evaluation.evaluate(context(Linear(), wheel), ["c2st"])["c2st"]
    assert exact.value == pytest.approx(0.5, abs=0.1) and exact.n == 2
    assert 0 < exact.stderr < 0.1
    other = evaluation.evaluate(context(Linear(3.0), wheel, num=100), ["c2st"])["c2st"]
    assert other.value > 0.75


@dataclasses.dataclass(frozen=True)
class Wide:
    """Half of its draws are outside the square of two moons."""

    scale: float = 2**0.5
    given: tuple[str, ...] = ("observation",)

    def sample(self, params, extra, keys, condition, options):
        return self.scale * jax.vmap(lambda k: jax.random.uniform(k, (2,), minval=-1))(keys)


def test_draws_beyond_the_prior_are_left_out(tmp_path):
    given = context(Wide(), tmp_path, "simulator:two_moons", 2)
    drawn = posteriors.draw_posterior(given, np.zeros(2, np.float32), 300)
    assert drawn.shape == (300, 2) and (np.abs(drawn) <= 1).all()
    assert len(np.unique(drawn, axis=0)) == 300
    nowhere = context(Wide(1e6), tmp_path, "simulator:two_moons", 2)
    with pytest.raises(UserError, match="fewer than 20 are within the prior"):
        posteriors.draw_posterior(nowhere, np.zeros(2, np.float32), 20)


def test_other_data_and_models_are_refused(tmp_path):
    with pytest.raises(UserError, match="c2st needs the data of a simulator"):
        evaluation.evaluate(context(Linear(), tmp_path, "digits"), ["c2st"])
    with pytest.raises(UserError, match=r"conditional=True"):
        evaluation.evaluate(context(Linear(given=()), tmp_path), ["c2st"])


def test_the_sliced_distance_of_shifted_samples_is_the_shift():
    rng = np.random.default_rng(0)
    x, shift = rng.normal(size=(400, 2)), np.array([0.6, -0.8])
    found = posteriors.max_sliced_wasserstein(x, x + shift, np.random.default_rng(1), 500)
    assert found == pytest.approx(1.0, abs=0.01)  # along the shift itself
    line = rng.normal(size=(300, 1)), rng.gamma(2.0, size=(300, 1))
    alone = posteriors.max_sliced_wasserstein(*line, np.random.default_rng(1), 1)
    expected = stats.wasserstein_distance(line[0][:, 0], line[1][:, 0])
    assert alone == pytest.approx(expected)
