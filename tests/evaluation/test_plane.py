"""The maximum mean discrepancy against its definition, and with its floor."""

import dataclasses

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax import evaluation
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, plane

SPEC = DataSpec("real", (2,))
RNG = np.random.default_rng(0)
SETTINGS = ConfigDict({"mmd_samples": 300, "batch_size": 100, "num_examples": 0})


def test_the_discrepancy_is_its_definition():
    x, y, width = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3)), 0.8

    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * width**2))

    mean = lambda a, b: np.mean([[kernel(p, q) for q in b] for p in a])  # noqa: E731
    expected = np.sqrt(mean(x, x) + mean(y, y) - 2 * mean(x, y))
    assert plane.kernel_discrepancy(x, y, width) == pytest.approx(expected)
    assert plane.kernel_discrepancy(x, x, width) == pytest.approx(0, abs=1e-7)


@dataclasses.dataclass(frozen=True)
class Normal:
    """Standard normal samples, moved by `shift`."""

    shift: float = 0.0

    def sample(self, params, extra, keys, condition, options):
        return self.shift + jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)

    given = ()


def figures(shift, spec=SPEC):
    splits = {
        name: ArrayExamples(name, {"x": RNG.normal(size=(n, 2)).astype(np.float32)})
        for name, n in (("train", 9_000), ("test", 300))
    }
    subject = Subject(Normal(shift), spec, {}, {})
    context = Context(subject, Dataset("given", spec, splits), "test", SETTINGS)
    return evaluation.evaluate(context, ["mmd"])


def test_samples_of_the_data_are_not_told_from_them_and_others_are():
    same, moved = figures(0.0), figures(0.5)
    assert same["mmd"].value < 1.3 * same["mmd_floor_95"].value
    assert same["mmd_floor"].value < same["mmd_floor_95"].value
    assert moved["mmd"].value > 2 * moved["mmd_floor_95"].value


def test_images_are_refused():
    with pytest.raises(UserError, match="mmd is of real vectors"):
        figures(0.0, DataSpec("real", (2, 1, 1)))
