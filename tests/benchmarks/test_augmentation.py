"""Samples as data: what is added to real examples, and that a classifier learns from it."""

import jax.numpy as jnp
import numpy as np

from benchmarks import augmentation as module


def test_transformations_move_a_picture_a_little():
    x = np.zeros((20, 28, 28, 1), np.uint8)
    x[:, 10:18, 10:18] = 200
    moved = np.asarray(module.transform(jnp.asarray(x), 0))
    assert moved.dtype == np.uint8 and moved.shape == x.shape
    rows, columns = np.indices((28, 28))
    mass = moved[..., 0].astype(float)
    middles = np.stack(
        [(mass * axis).sum((1, 2)) / mass.sum((1, 2)) for axis in (rows, columns)], 1
    )
    assert np.abs(middles - 13.5).max() < 2.5 and middles.std() > 0.3
    np.testing.assert_allclose(mass.sum((1, 2)), 200 * 64, rtol=0.3)
    assert len({picture.tobytes() for picture in moved}) == 20


def test_a_repeat_measures_every_kind(monkeypatch, tiny_idx, tmp_path):
    monkeypatch.setenv("GEN_JAX_MANUAL_DIR", str(tiny_idx))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(module, "_read", module.read)
    monkeypatch.setattr(module, "STEPS", {"vae": 20, "classifier": 10})
    monkeypatch.setattr(module, "GENERATED", 4)
    found = module.repeat(0, 1)
    assert list(found) == list(module.KINDS)
    assert all(0 <= value <= 1 for value in found.values())


def test_gains_are_differences_within_repeats():
    rng = np.random.default_rng(0)
    found = [{kind: float(rng.random()) for kind in module.KINDS} for _ in range(5)]
    rows = {(row["row"], row["metric"]): row for row in module.rows_of(50, found, 3.0)}
    gains = [one["generated"] - one["real"] for one in found]
    row = rows["generated_50", "gain"]
    assert row["value"] == float(f"{np.mean(gains):.4g}")
    assert row["stderr"] == float(f"{np.std(gains, ddof=1) / 5**0.5:.2g}")
    assert ("real_50", "accuracy") in rows and ("both_50", "gain_over_transformed") in rows
