"""The two networks of Sohn et al. 2015: their nats, and that they are trained and scored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import quadrant_completion as module

KNOWN = np.array([True, True, False, False, False])
X = jnp.float32([[1, 0, 1, 1, 0], [0, 0, 0, 1, 0], [1, 1, 0, 0, 0]])


def _moved(params, size=0.1):
    """Off their start."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        tree, [leaf + size * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    )


def test_the_baseline_has_the_nats_of_what_it_does_not_see():
    baseline = module.Baseline(KNOWN)
    params = _moved(baseline.init(jax.random.key(0)))
    p = 1 / (1 + np.exp(-np.float64(baseline.logits(params, X))))
    expected = -np.log(np.where(X == 1, p, 1 - p))[:, ~KNOWN].sum(1)
    np.testing.assert_allclose(baseline.nll(params, X, None), expected, rtol=1e-4)
    other = X.at[:, 2:].set(1 - X[:, 2:])
    np.testing.assert_array_equal(baseline.logits(params, other), baseline.logits(params, X))


def test_the_cvae_is_between_its_bound_and_the_likelihood(monkeypatch):
    """Of two latents, over which the likelihood is a sum on a grid."""
    monkeypatch.setattr(module, "LATENTS", 2)
    monkeypatch.setattr(module, "SAMPLES", 2_000)
    baseline = module.Baseline(KNOWN)
    cvae = module.CVAE(baseline, baseline.init(jax.random.key(0)))
    params = _moved(cvae.init(jax.random.key(1)), 0.02)
    keys = jax.random.split(jax.random.key(2), 500)
    bound = np.asarray(jax.vmap(lambda key: cvae.loss(params, X, key))(keys)).mean(0)
    found = np.asarray(jax.jit(cvae.nll)(params, X, keys[0]))
    prior, _ = cvae._normals(params, X)
    side = np.linspace(-6, 6, 61)
    grid = jnp.float32(np.stack(np.meshgrid(side, side), -1).reshape(-1, 1, 2))
    log_p = module.log_likelihood(cvae.decoder.apply(params["decoder"], grid), X, KNOWN)
    joint = np.float64(log_p + prior.log_prob(grid))
    exact = -np.logaddexp.reduce(joint, 0) - 2 * np.log(side[1] - side[0])
    np.testing.assert_allclose(found, exact, atol=0.05)
    assert (bound > exact - 0.05).all() and (bound > exact + 0.01).any()


def test_both_are_trained_and_scored(monkeypatch, tiny_idx, tmp_path, capsys):
    monkeypatch.setenv("GEN_JAX_MANUAL_DIR", str(tiny_idx))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    small = {"VALIDATION": 20, "EPOCHS": 2, "SAMPLES": 2, "LATENTS": 2, "BATCH": 32}
    for name, value in small.items():
        monkeypatch.setattr(module, name, value)
    written = []
    monkeypatch.setattr(module.rows_lib, "write", lambda path, rows: written.extend(rows))
    assert module.main(["--tasks=two_quadrants"]) == 0
    assert {row["row"] for row in written} == {"baseline", "cvae"}
    # Noise of 392 pixels: at most about 392 ln 2.
    assert all(0 < row["value"] < 330 and row["n"] == 64 for row in written)
    epochs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(epochs) == 4
    assert module.main(["--tasks=five_quadrants"]) == 1


def test_the_best_epoch_is_kept_and_training_stops(monkeypatch, tiny_idx, tmp_path):
    monkeypatch.setenv("GEN_JAX_MANUAL_DIR", str(tiny_idx))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    small = {"VALIDATION": 20, "EPOCHS": 30, "PATIENCE": 1, "BATCH": 20}
    for name, value in small.items():
        monkeypatch.setattr(module, name, value)
    spec, splits = module.read()
    baseline = module.Baseline(np.arange(784) < 392)
    params, epoch = module.fit(baseline, spec, splits, 0)
    # Of noise nothing is learned for long.
    assert 1 <= epoch < 29
    x = module.fixed(spec, "validation", splits["validation"]["x"])
    after, _ = module.fit(baseline, spec, splits, 0)
    assert baseline.loss(params, x, None).mean() == pytest.approx(
        float(baseline.loss(after, x, None).mean())
    )
