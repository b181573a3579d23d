"""The posterior of the mixture is exact, and methods are measured against it."""

import jax.numpy as jnp
import numpy as np

from benchmarks import posterior_sampling as module
from gen_jax.families.diffusion.process import SCHEDULES, Process


def test_the_posterior_is_that_of_the_draws_with_that_measurement():
    """By brute force: draws of the prior, weighted by how likely they make y."""
    known = module.Mixture(np.array([0.3, 0.7]), np.array([[-1.0, 0.5], [1.0, 0.0]]))
    matrix, noise, y = np.array([[0.8, -0.3]]), 0.5, np.array([0.4])
    rng = np.random.default_rng(0)
    prior = known.draw(rng, 400_000)
    weights = np.exp(-0.5 * ((y - prior @ matrix.T) ** 2).sum(1) / noise**2)
    weights /= weights.sum()
    mean = weights @ prior
    cov = (prior - mean).T * weights @ (prior - mean)
    drawn = known.posterior(rng, matrix, noise, y, 100_000)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.03)


def test_the_denoiser_is_exact():
    known, std = module.mixture(), 3.0
    assert len(known.weights) == 25 and known.means.shape == (25, 8)
    process = Process(SCHEDULES["log_normal"], "exploding", "data")
    network = module.BestOfMixture(process, known, std)
    level, rng = 0.9, np.random.default_rng(0)
    z = known.draw(rng, 3) / std + level * rng.normal(size=(3, 8))

    # E[x | z] by Tweedie's formula, with the gradient of ln p(z) by differences.
    def log_p(z):
        variance = 1 / std**2 + level**2
        gaps = z - known.means / std
        return np.log(known.weights @ np.exp(-0.5 * (gaps**2).sum(1) / variance))

    step = 1e-5 * np.eye(8)
    gradient = [[(log_p(row + h) - log_p(row - h)) / 2e-5 for h in step] for row in z]
    log_snr = jnp.full(3, -2 * np.log(level))
    shown = jnp.float32(z / np.sqrt(1 + level**2))
    found = network.apply({}, shown, log_snr, None)
    np.testing.assert_allclose(found, z + level**2 * np.array(gradient), atol=2e-3)


def test_particles_come_nearer_than_replacement(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 200)
    monkeypatch.setattr(module, "STEPS", 30)
    found = module.errors(2, ["replacement", "tds_32"], 2)
    assert list(found) == ["floor", "replacement", "tds_32"]
    assert np.mean(found["tds_32"]) < np.mean(found["replacement"])
