"""The density evaluator against closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import DIM, SIGMA, decoder
from ml_collections import ConfigDict
from scipy import stats

from gen_jax import evaluation, keys
from gen_jax.data.examples import ArrayExamples, choose
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, likelihood
from gen_jax.families.base import LogWeights


def settings(**changes) -> ConfigDict:
    config = ConfigDict(
        {"batch_size": 32, "num_examples": 0, "elbo_samples": 10, "importance_samples": 50}
    )
    config.update(changes)
    return config


def evaluate(subject, examples, *names):
    dataset = Dataset("given", subject.spec, {"test": examples})
    return evaluation.evaluate(Context(subject, dataset, "test", settings()), names)


def test_bounds_rise_to_the_exact_likelihood(linear):
    subject, examples, exact = linear
    bounds = [
        likelihood.importance_terms(subject, examples, settings(), k)["bound"]
        for k in (1, 5, 50, 500)
    ]
    elbo = likelihood.importance_terms(subject, examples, settings(), 200)["elbo"]
    # The one-sample bound is the ELBO with more noise.
    assert abs(bounds[0].mean() - elbo.mean()) < 4 * (bounds[0] - elbo).std() / len(exact) ** 0.5
    means = [elbo.mean(), *(bound.mean() for bound in bounds[1:]), exact.mean()]
    assert means == sorted(means), means
    assert means[-1] - means[0] > 0.1, "the encoder should leave a gap for the bounds to close"
    gap = exact - bounds[-1]
    assert abs(gap.mean()) < 0.01 + 3 * gap.std() / len(gap) ** 0.5


def test_importance_weights_are_unbiased(linear):
    subject, examples, exact = linear
    batch = {k: jnp.asarray(v) for k, v in examples.gather(np.arange(20)).items()}
    each = keys.per_example(keys.stream(0, "test"), jnp.arange(20))
    terms = subject.family.log_weights(subject.params, subject.extra, batch, each, 20_000)
    weights = np.exp(np.asarray(terms.log_w, np.float64) - exact[:20])
    stderr = weights.std(0) / len(weights) ** 0.5
    assert (abs(weights.mean(0) - 1) < 4.5 * stderr).all()


def test_rate_and_distortion_are_the_closed_forms(linear):
    subject, examples, _ = linear
    terms = likelihood.importance_terms(subject, examples, settings(), 2_000)
    batch = {k: jnp.asarray(v) for k, v in examples.arrays.items()}
    mean, log_variance = map(
        np.asarray, subject.family.encode(subject.params, subject.extra, batch)
    )
    variance = np.exp(log_variance)
    rate = 0.5 * (mean**2 + variance - log_variance - 1).sum(-1)
    weights, bias = decoder(subject)
    residual = examples.arrays["x"] - mean @ weights - bias
    spread = (variance @ weights**2).sum(-1)
    distortion = 0.5 * ((residual**2).sum(-1) + spread) / SIGMA**2 + 0.5 * DIM * np.log(
        2 * np.pi * SIGMA**2
    )
    np.testing.assert_allclose(terms["rate"].mean(), rate.mean(), rtol=5e-3)
    np.testing.assert_allclose(terms["distortion"].mean(), distortion.mean(), rtol=5e-3)


def test_figures_do_not_depend_on_the_batch_size(linear):
    subject, examples, _ = linear
    one = likelihood.importance_terms(subject, examples, settings(batch_size=301), 27)
    ragged = likelihood.importance_terms(subject, examples, settings(batch_size=64), 27)
    limited = likelihood.importance_terms(subject, examples, settings(num_examples=10), 27)
    assert len(ragged["bound"]) == 301 and len(limited["bound"]) == 10
    for name in one:
        np.testing.assert_allclose(one[name], ragged[name], rtol=1e-5, atol=1e-5)
        chosen = one[name][np.sort(choose(301, 10))]
        np.testing.assert_allclose(chosen, limited[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_log_mean_exp_in_chunks_is_the_sum_by_hand(chunk):
    drawn = []

    def log_weights(each, num):
        values = keys.normal(each, (num,)).T * 5 - 40
        drawn.append(values)
        return LogWeights(values - 1, jnp.stack([values, 1 - values]))

    each = keys.per_example(keys.stream(0, "x"), jnp.arange(4))
    with jax.disable_jit():
        terms = likelihood.log_mean_exp(log_weights, each, 7, chunk, log_volume=2.0)
    w = np.concatenate([np.asarray(d, np.float64) for d in drawn])[:7]
    np.testing.assert_allclose(terms["bound"], np.log(np.exp(w).mean(0)) + 2, rtol=1e-5)
    np.testing.assert_allclose(terms["elbo"], w.mean(0) + 2, rtol=1e-5)
    np.testing.assert_allclose(terms["rate"], -1.0, rtol=1e-4)
    np.testing.assert_allclose(terms["rates"], np.stack([-w.mean(0), w.mean(0) - 1], 1), rtol=1e-5)
    np.testing.assert_allclose(terms["distortion"], 1 - w.mean(0) - 2, rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class TwoLayers:
    """Two layers of latents with rates of 1 and 2.5 nats, and a distortion of 4."""

    def log_weights(self, params, extra, batch, each, num_samples):
        ones = jnp.ones((num_samples, len(each)))
        return LogWeights(-4 * ones, jnp.stack([-ones, -2.5 * ones]))


def test_rate_of_each_layer():
    examples = ArrayExamples(
        "test", {"x": np.zeros((9, 5), np.float32), "label": np.zeros(9, np.int32)}
    )
    subject = Subject(TwoLayers(), DataSpec("real", (5,)), {}, {})
    figures = {name: m.value for name, m in evaluate(subject, examples, "elbo").items()}
    expected = {"rate": 3.5, "rate/layer_1": 1, "rate/layer_2": 2.5, "distortion": 4, "elbo": -7.5}
    assert figures == pytest.approx(expected)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """The uniform density on [0, 2]^D, whatever the data."""

    def log_weights(self, params, extra, batch, each, num_samples):
        dims = batch["x"].shape[-1]
        value = jnp.full((num_samples, len(each)), -dims * jnp.log(2.0))
        return LogWeights(value, jnp.zeros_like(value)[None])


@pytest.mark.parametrize("levels", [17, 256])
def test_bits_per_dim_of_a_known_density(levels):
    spec = DataSpec("real", (5,), levels=levels)
    x = np.random.default_rng(0).integers(0, levels, (9, 5)).astype(np.uint8)
    examples = ArrayExamples("test", {"x": x, "label": np.zeros(9, np.int32)})
    figures = evaluate(Subject(Uniform(), spec, {}, {}), examples, "nll")
    # P(integers) = (1 / 2 / levels)^D.
    np.testing.assert_allclose(figures["bits_per_dim"].value, 1 + np.log2(levels), rtol=1e-5)
    np.testing.assert_allclose(figures["nll"].value, 5 * np.log(2 * levels), rtol=1e-5)
    assert figures["nll"].kind == "upper_bound" and figures["nll"].n == 9


def test_standard_error_is_over_examples():
    values = np.random.default_rng(0).normal(size=400) * 3
    metric = evaluation.Metric.mean(values, "nats", "exact", {})
    assert metric.stderr == pytest.approx(stats.sem(values))
    assert metric.value == pytest.approx(values.mean())


def test_active_units_counts_latents_that_move(linear):
    subject, examples, _ = linear
    kernel = subject.params["vae"]["posterior"]["kernel"]
    dead = kernel.at[:, 1].set(0.0)
    posterior = subject.params["vae"]["posterior"] | {"kernel": dead}
    params = {"vae": subject.params["vae"] | {"posterior": posterior}}
    changed = dataclasses.replace(subject, params=params)
    for model, count in ((subject, 3), (changed, 2)):
        figures = evaluate(model, examples, "active_units")
        assert figures["active_units"].value == count


def test_what_a_family_lacks_is_refused_with_who_has_it(linear):
    _, examples, _ = linear
    lacking = Subject(Uniform(), DataSpec("real", (DIM,)), {}, {})
    with pytest.raises(
        UserError, match=r"active_units needs .*encode.* Uniform lacks; .*VAE, .*PlainAutoencoder"
    ):
        evaluate(lacking, examples, "active_units")
    with pytest.raises(
        UserError, match=r"unknown metric 'fidd'; valid are: accuracy, active_units"
    ):
        evaluate(lacking, examples, "fidd")
