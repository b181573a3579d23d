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
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, anomaly, likelihood
from gen_jax.families.base import LogProb, LogWeights

SETTINGS = ConfigDict(
    {
        "batch_size": 7,
        "num_examples": 0,
        "elbo_samples": 3,
        "importance_samples": 3,
        "anomaly_scores": (),
    }
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


def test_the_density_of_logits_is_that_of_the_dequantised_image():
    """A logistic density of the logits, written as a density of x, has the logistic's entropy."""

    class OfLogits:
        def log_prob(self, params, extra, batch, keys):
            u = 1e-6 + (1 - 2e-6) * batch["x"]
            v, slope = jnp.log(u) - jnp.log1p(-u), (1 - 2e-6) / (u * (1 - u))
            return LogProb((jax.scipy.stats.logistic.logpdf(v) + jnp.log(slope)).sum(-1))

    spec = DataSpec("real", (4,), levels=256)
    x = RNG.integers(1, 255, (50, 4)).astype(np.uint8)
    given = context(spec, x, OfLogits())
    figures = evaluation.evaluate(given, ["logit_nll", "nll"])
    # Independently: each v is logit((k + u) / 256), and P(u) has density 1.
    noisy = likelihood.per_example(given.subject, given.examples, SETTINGS, _see)
    assert (np.floor(noisy * 256) == x).all()
    expected = -stats.logistic.logpdf(np.log(noisy) - np.log1p(-noisy)).sum(1)
    assert figures["logit_nll"].value == pytest.approx(expected.mean(), rel=1e-3)
    # The logistic density of logits is the uniform one of x: 8 bits.
    assert figures["bits_per_dim"].value == pytest.approx(8, abs=1e-3)
    assert figures["logit_nll"].unit == "nats" and "alpha=1e-06" in str(
        figures["logit_nll"].to_json("logit_nll")["spec"]
    )


def _see(family, params, extra, batch, keys):
    return batch["x"]


def test_the_density_of_logits_needs_grey_levels():
    real = context(DataSpec("real", (4,)), np.zeros((3, 4), np.float32))
    with pytest.raises(UserError, match=r"logit_nll is of.*uniform_dequantization"):
        evaluation.evaluate(real, ["logit_nll"])


@dataclasses.dataclass(frozen=True)
class Classes:
    """One Gaussian for each class, around 0, 1 and 2."""

    spec: DataSpec
    given: tuple[str, ...] = ("label",)

    def log_prob(self, params, extra, batch, keys):
        mean = batch["label"][:, None].astype(jnp.float32)
        return LogProb(jax.scipy.stats.norm.logpdf(batch["x"], mean, 1.0).sum(-1))

    def sample(self, params, extra, keys, condition, options):
        raise NotImplementedError


def test_bayes_rule_chooses_the_likeliest_class():
    spec = DataSpec("real", (2,), num_classes=3)
    label = RNG.integers(0, 3, 200)
    x = (label[:, None] + RNG.normal(0, 0.7, (200, 2))).astype(np.float32)
    examples = ArrayExamples("test", {"x": x, "label": label.astype(np.int32)})
    dataset = Dataset("given", spec, {"test": examples})

    def measured(family):
        subject = Subject(family, spec, {}, {})
        given = Context(subject, dataset, "test", SETTINGS)
        return evaluation.evaluate(given, ["bayes_accuracy"])["bayes_accuracy"]

    nearest = np.abs(x.mean(1)[:, None] - np.arange(3)).argmin(1)
    figure = measured(Classes(spec))
    assert figure.value == pytest.approx((nearest == label).mean()) and figure.n == 200
    assert 0.5 < figure.value < 1
    with pytest.raises(UserError, match="bayes_accuracy needs a model that is given the label"):
        measured(Classes(spec, given=()))
