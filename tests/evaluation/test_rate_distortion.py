"""The rate-distortion curve of a linear Gaussian decoder, where every point is known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from linear import DIM, SIGMA, decoder, posterior
from ml_collections import ConfigDict

from gen_jax import evaluation
from gen_jax.data.examples import choose
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.evaluation import Context, ais, rate_distortion
from gen_jax.evaluation.rate_distortion import BETAS

NUM = 60
ROWS = np.sort(choose(301, NUM))


def points(subject, examples, steps):
    """Rates and distortions [NUM, len(BETAS)], in ragged batches."""
    settings = ConfigDict({"batch_size": 25, "num_examples": NUM, "ais_steps": steps})
    return rate_distortion.points(subject, examples, settings)


def exact_points(subject, x):
    """Those of the Gaussians in proportion to p(z) p(x|z)^beta, in the same shape."""
    weights, bias = decoder(subject)
    rates, distortions = [], []
    for beta in BETAS:
        mean, precision = posterior(subject, x, beta)
        cov = np.linalg.inv(precision)
        kl = np.trace(cov) + (mean**2).sum(1) - len(cov) + np.linalg.slogdet(precision)[1]
        squares = ((x - mean @ weights - bias) ** 2).sum(1) + np.trace(weights.T @ cov @ weights)
        rates.append(0.5 * kl)
        distortions.append(0.5 * squares / SIGMA**2 + 0.5 * DIM * np.log(2 * np.pi * SIGMA**2))
    return np.stack(rates, 1), np.stack(distortions, 1)


@pytest.fixture(scope="module")
def exact(linear):
    subject, examples, _ = linear
    return exact_points(subject, examples.arrays["x"][ROWS])


@pytest.fixture(scope="module")
def found(linear):
    return {steps: points(*linear[:2], steps) for steps in (8, 2_000)}


def test_points_of_the_curve(exact, found):
    beta = np.array(BETAS)
    # Four chains of an example scatter along the tangent; across it they are much closer.
    for name, mine, its in zip(("rate", "distortion"), found[2_000], exact, strict=True):
        error = mine - its
        stderr = error.std(0) / NUM**0.5
        assert (abs(error.mean(0)) < 4 * stderr + 0.02).all(), (name, error.mean(0), stderr)
        assert (stderr < 0.15 * np.maximum(1, 1 / beta)).all(), (name, stderr)
    free_energy = [rate + beta * distortion for rate, distortion in (found[2_000], exact)]
    np.testing.assert_allclose(free_energy[0].mean(0), free_energy[1].mean(0), atol=0.06)


def test_rate_and_distortion_together_are_the_bound_at_beta_one(linear, found):
    expected = -linear[2][ROWS].mean()
    for steps, tolerance in ((8, 5.0), (2_000, 0.06)):
        total = sum(values[:, BETAS.index(1.0)].mean() for values in found[steps])
        assert expected - 0.06 < total < expected + tolerance


def test_points_from_the_path_by_hand(linear, monkeypatch):
    """One chain of each example is drawn by its weight; the path is made up."""
    subject, examples, _ = linear
    rng, numbers = np.random.default_rng(0), {}

    def made_up(log_prior, log_likelihood, start, keys, betas):
        numbers["betas"] = betas
        shape = (len(betas), *start.shape[:2])
        numbers["path"] = rng.normal(size=(2, *shape))
        return ais.Path(*jnp.float32(numbers["path"]))

    monkeypatch.setattr(ais, "anneal", made_up)
    rates, distortions = points(subject, examples, 7)  # 25 examples at a time
    for column, beta in enumerate(BETAS):
        at = numbers["betas"].tolist().index(beta)
        w, log_likelihood = numbers["path"][:, at]
        w = np.exp(w)
        distortion = -(w * log_likelihood).sum(0) / w.sum(0)
        np.testing.assert_allclose(distortions[:25, column], distortion, rtol=1e-4)
        rate = -np.log(w.mean(0)) - beta * distortion
        np.testing.assert_allclose(rates[:25, column], rate, rtol=1e-4, atol=1e-5)


def test_a_short_path_errs_above_the_curve(exact, found):
    """It is convex with slope -beta, so R + beta D is least on it."""
    above = [rate + np.array(BETAS) * distortion for rate, distortion in (found[8], exact)]
    assert (above[0].mean(0) > above[1].mean(0)).all()


def test_figures_are_the_means(linear, found):
    subject, examples, _ = linear
    dataset = Dataset("given", subject.spec, {"test": examples})
    settings = ConfigDict({"batch_size": 25, "num_examples": NUM, "ais_steps": 8})
    figures = evaluation.evaluate(Context(subject, dataset, "test", settings), ["rate_distortion"])
    assert len(figures) == 2 * len(BETAS)
    for column, beta in enumerate(BETAS):
        for name, values in zip(("rate", "distortion"), found[8], strict=True):
            metric = figures[f"{name}@beta={beta:g}"]
            assert metric.value == pytest.approx(values[:, column].mean(), rel=1e-5)
            assert (metric.unit, metric.kind, metric.n) == ("nats", "estimate", NUM)
            what = {"data": "test:60", "x": "real", "steps": 8, "chains": 4}
            assert metric.spec == what


def test_the_volume_of_dequantised_data_is_part_of_the_distortion(linear, found, monkeypatch):
    subject, examples, _ = linear
    spec = DataSpec("real", (DIM,), levels=4)
    monkeypatch.setattr(DataSpec, "prepare", lambda self, raw, keys: raw)
    rates, distortions = points(dataclasses.replace(subject, spec=spec), examples, 8)
    np.testing.assert_allclose(rates, found[8][0], atol=1e-3)
    np.testing.assert_allclose(distortions, found[8][1] + DIM * np.log(4), atol=1e-3)


def test_every_point_is_a_temperature_of_the_path():
    for steps in (1, 16, 1_000):
        betas = np.union1d(max(BETAS) * ais.temperatures(steps), BETAS)
        assert betas[0] == 0 and (np.diff(betas) > 0).all() and set(BETAS) <= set(betas)
