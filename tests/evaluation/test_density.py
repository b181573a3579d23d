"""Models that say log p(x) themselves: it is what is measured, and the figure says what it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from gen_jax import evaluation
from gen_jax import keys as keys_lib
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.evaluation import Context, Subject, anomaly, likelihood
from gen_jax.families.base import LogProb, LogWeights

SETTINGS = ConfigDict(
    {"batch_size": 7, "num_examples": 0, "elbo_samples": 3, "importance_samples": 3}
)
RNG = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Normal:
    """N(0.5, 0.2^2) in each dimension; of kind "estimate" with noise and its standard error."""

    kind: str = "exact"

    def log_prob(self, params, extra, batch, keys):
        value = jax.scipy.stats.norm.logpdf(batch["x"], params["mean"], 0.2).sum(-1)
        if self.kind == "exact":
            return LogProb(value)
        noise = 0.1 * keys_lib.normal(keys)
        return LogProb(value + noise, jnp.full_like(value, 0.1), self.kind)

    def log_weights(self, params, extra, batch, keys, num_samples):
        """A bound that is worse: the density is asked first."""
        zeros = jnp.zeros((num_samples, len(keys)))
        return LogWeights(zeros - 1e6, zeros[None])


def context(spec, x, family=None, others=None):
    splits = {"test": ArrayExamples("test", {"x": x})}
    if others is not None:
        splits["anomalies"] = ArrayExamples("other/test", {"x": others})
    subject = Subject(family or Normal(), spec, {"mean": np.float32(0.5)}, {})
    return Context(subject, Dataset("given", spec, splits), "test", SETTINGS)


def test_an_exact_density_of_real_data():
    x = RNG.normal(0.5, 0.2, (33, 4)).astype(np.float32)
    figures = evaluation.evaluate(context(DataSpec("real", (4,)), x), ["nll"])
    assert set(figures) == {"nll"}
    exact = -stats.norm(0.5, 0.2).logpdf(x).sum(1)
    assert figures["nll"].value == pytest.approx(exact.mean(), rel=1e-5)
    assert figures["nll"].stderr == pytest.approx(stats.sem(exact), rel=1e-4)
    assert figures["nll"].kind == "exact"
    assert figures["nll"].spec == {"data": "test:33", "x": "real"}


def test_a_density_of_dequantised_data_bounds_their_probability():
    spec = DataSpec("real", (4,), levels=8)
    x = RNG.integers(0, 8, (50, 4)).astype(np.uint8)
    found = likelihood.nll(context(spec, x))
    # P(integers) is the integral over the bins, which the density at one point of each bounds in
    # the mean: E_u[log p(x + u)] <= log P(x).
    edges = np.arange(9) / 8
    mass = np.diff(stats.norm(0.5, 0.2).cdf(edges))
    exact = -np.log(mass[x]).sum(1).mean()
    figure = found["nll"]
    assert figure.kind == "upper_bound" and exact < figure.value < exact + 1.5
    assert found["bits_per_dim"].value == pytest.approx(figure.value / 4 / np.log(2))
    assert found["bits_per_dim"].kind == "upper_bound"


def test_an_estimate_keeps_its_kind_and_its_error():
    x = RNG.normal(0.5, 0.2, (20, 4)).astype(np.float32)
    made = context(DataSpec("real", (4,)), x, Normal("estimate"))
    assert likelihood.nll(made)["nll"].kind == "estimate"
    found = likelihood.log_prob(made.subject, made.examples, SETTINGS, 3)
    np.testing.assert_allclose(found.stderr, 0.1)
    assert found.value.shape == (20,)


def test_anomalies_are_scored_by_it():
    spec = DataSpec("real", (4,))
    x = RNG.normal(0.5, 0.2, (60, 4)).astype(np.float32)
    others = RNG.normal(0.5, 0.3, (60, 4)).astype(np.float32)
    figures = anomaly.auroc(context(spec, x, others=others))
    assert list(figures) == ["auroc/nll"]
    normal, far = (-stats.norm(0.5, 0.2).logpdf(rows).sum(1) for rows in (x, others))
    assert figures["auroc/nll"].value == pytest.approx(
        anomaly.area_under_curve(normal, far)[0], abs=1e-3
    )
    assert "samples" not in figures["auroc/nll"].spec
