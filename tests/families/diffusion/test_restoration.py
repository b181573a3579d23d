"""Posteriors of Gaussian data given a measurement, which are Gaussian and known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_diffusion import COV, EXTRA, MEAN, best, build  # of this folder

from gen_jax import families, measurements
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.families.base import Restorer
from gen_jax.families.diffusion import restoration
from gen_jax.families.diffusion.family import Diffusion
from gen_jax.families.diffusion.process import SCHEDULES, Process
from gen_jax.settings import defaults

OPTIONS = defaults(families.definition("diffusion").sample_options).to_dict()
RNG = np.random.default_rng(0)


def restored(family, extra, measurement, y, num, **options):
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(num))
    y = jnp.broadcast_to(jnp.float32(y), (num, *np.shape(y)))

    @jax.jit
    def draw(keys, y):
        return family.restore(
            {"denoiser": {}}, extra, keys, measurement, y, {}, {**OPTIONS, **options}
        )

    return np.asarray(draw(keys, y), np.float64)


def posterior(mean, cov, matrix, noise, y):
    gain = cov @ matrix.T @ np.linalg.inv(matrix @ cov @ matrix.T + noise**2 * np.eye(len(y)))
    return mean + gain @ (y - matrix @ mean), cov - gain @ matrix @ cov


@pytest.mark.parametrize(
    ("schedule", "scaling"), [("cosine", "preserving"), ("log_normal", "exploding")]
)
@pytest.mark.parametrize("method", ["mmps", "tds"])
def test_draws_are_of_the_exact_posterior(method, schedule, scaling):
    family = best(schedule, scaling, "v")
    std = float(EXTRA["std"])
    mean, cov = MEAN * std + np.asarray(EXTRA["mean"]), COV * std**2
    matrix, noise, y = np.array([[1.0, -0.4]]), 0.8, np.array([2.0])
    measurement = measurements.of_matrix(matrix, noise)
    x = restored(
        family, EXTRA, measurement, y[:, None], 2_000, restoration=method, steps=200, particles=16
    )
    expected_mean, expected_cov = posterior(mean, cov, matrix, noise, y)
    scale = np.sqrt(np.diag(expected_cov))
    np.testing.assert_allclose((x.mean(0) - expected_mean) / scale, 0, atol=0.1)
    np.testing.assert_allclose(
        np.cov(x.T) / np.outer(scale, scale), expected_cov / np.outer(scale, scale), atol=0.12
    )


@dataclasses.dataclass(frozen=True)
class BestOfStandard:
    """What the best network says of independent standard normal data."""

    process: Process

    def apply(self, variables, z, log_snr, context):
        alpha, sigma = (v[:, None] for v in self.process.scales(log_snr))
        z = z * jnp.sqrt(alpha**2 + sigma**2)
        x = alpha * z / (alpha**2 + sigma**2)
        return self.process.target(x, (z - alpha * x) / sigma, log_snr)


@pytest.mark.parametrize("method", ["pigdm", "mmps"])
def test_of_independent_data_pigdm_is_exact(method):
    process = Process(SCHEDULES["cosine"], "preserving", "v")
    family = Diffusion(DataSpec("real", (3,)), BestOfStandard(process), process)
    extra = {"mean": jnp.zeros(3), "std": jnp.float32(1.0)}
    matrix, noise = np.array([[1.0, 0.5, 0.0], [0.0, 0.3, -1.0]]), 0.5
    y = np.array([1.0, -0.7])
    measurement = measurements.of_matrix(matrix, noise)
    x = restored(family, extra, measurement, y[:, None], 3_000, restoration=method, steps=200)
    mean, cov = posterior(np.zeros(3), np.eye(3), matrix, noise, y)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.08)


KEPT = [(method, {}) for method in restoration.METHODS if method != "dps"]
# The last step of DPS moves by as much as any, however near it is.
KEPT += [("dps", {"restoration_strength": 0.2}), ("replacement", {"resamplings": 4})]


@pytest.mark.parametrize(("method", "more"), KEPT)
def test_what_was_seen_without_noise_is_kept(method, more):
    family = best()
    measurement = measurements.mask(np.array([True, False]))
    y = np.array([[1.7]])
    x = restored(family, EXTRA, measurement, y, 500, restoration=method, **more)
    # Of a distance each step of DPS moves by as much, and so it stays about what was seen.
    near = {"dps": 0.5, "tds": 0.25}.get(method, 0.05)
    assert np.abs(x[:, 0] - 1.7).mean() < near
    assert x[:, 1].std() > 0.5  # the rest is drawn


def test_repaint_comes_nearer_to_what_is_unseen_than_replacement():
    """Replacement does not tell the rest of z what was seen; going back and forth does."""
    family, std = best(), float(EXTRA["std"])
    measurement = measurements.mask(np.array([True, False]))
    mean, cov = MEAN * std + np.asarray(EXTRA["mean"]), COV * std**2
    expected, _ = posterior(mean, cov, np.array([[1.0, 0.0]]), 0.0, np.array([5.0]))
    errors = [
        abs(
            restored(family, EXTRA, measurement, [[5.0]], 2_000, resamplings=times, **few).mean(0)[
                1
            ]
            - expected[1]
        )
        for few in [{"restoration": "replacement", "steps": 30}]
        for times in (1, 10)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_particles_are_drawn_anew_by_their_weights():
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(200))
    log_w = np.log(np.tile([0.7, 0.2, 0.1, 1e-9] * 4, (200, 1)))
    order, after = restoration._resample(keys, jnp.float32(log_w.reshape(-1)), 16)
    np.testing.assert_array_equal(order // 16, np.repeat(np.arange(200), 16))  # each its own
    counts = np.bincount(order % 16, minlength=16).reshape(4, 4).sum(0) / (200 * 16)
    np.testing.assert_allclose(counts, [0.7, 0.2, 0.1, 0], atol=0.02)
    assert (after == 0).all()
    even = np.log(np.full(32, 0.5))
    order, after = restoration._resample(keys[:2], jnp.float32(even), 16)
    np.testing.assert_array_equal(order, np.arange(32))
    np.testing.assert_allclose(after, even, rtol=1e-6)


@pytest.mark.parametrize("skew", [0.0, 0.3])
def test_gmres_solves(skew):
    size = restoration._SOLVER_STEPS
    turn = np.linalg.qr(RNG.normal(size=(4, size, size)))[0]
    # Small eigenvalues and a Jacobian that is not symmetric, with which conjugate gradients fail.
    matrices = turn @ (np.geomspace(0.01, 1, size)[:, None] * turn.transpose(0, 2, 1))
    other = RNG.normal(size=(4, size, size))
    matrices += skew * (other - other.transpose(0, 2, 1))
    right = RNG.normal(size=(4, size, 1))
    times = lambda w: jnp.einsum(  # noqa: E731
        "bij,bjc->bic", jnp.float32(matrices), w, precision="highest"
    )
    found = restoration._gmres(times, jnp.float32(right))
    np.testing.assert_allclose(found, np.linalg.solve(matrices, right), rtol=2e-2, atol=2e-2)
    none = restoration._gmres(times, jnp.zeros((4, size, 1)))
    assert (none == 0).all()


def test_gmres_comes_as_near_as_its_products_with_the_matrix_can():
    size = 3 * restoration._SOLVER_STEPS
    matrix = np.eye(size) + 0.5 * RNG.normal(size=(size, size))
    right = RNG.normal(size=(1, size, 1))
    krylov = [right[0]]
    for _ in range(restoration._SOLVER_STEPS):
        krylov.append(matrix @ krylov[-1])
    space = np.concatenate(krylov[1:], 1)
    nearest = space @ np.linalg.lstsq(space, right[0], rcond=None)[0]
    found = restoration._gmres(lambda w: jnp.float32(matrix) @ w, jnp.float32(right))
    gap = np.linalg.norm(right[0] - matrix @ np.float64(found[0]))
    assert gap == pytest.approx(np.linalg.norm(right[0] - nearest), rel=1e-3)


@pytest.mark.parametrize("method", restoration.METHODS)
def test_images_of_three_channels_are_restored_from_every_other_pixel(method):
    family, params, extra, batch = build(DataSpec("real", (5, 7, 3), 256, num_classes=3))
    assert families.has(family, Restorer)
    known = np.indices((5, 7)).sum(0) % 2 == 0
    measurement = measurements.mask(known)
    x = np.asarray(batch["x"])[:2]
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(2))
    options = {**OPTIONS, "restoration": method, "steps": 5, "particles": 3}
    y = measurement.apply(family.spec.center(jnp.asarray(x)))
    condition = {"label": batch["label"][:2]}
    draw = jax.jit(
        lambda keys: family.restore(params, extra, keys, measurement, y, condition, options)
    )
    found = np.asarray(draw(keys))
    assert found.shape == x.shape and ((found >= 0) & (found < 1)).all()
    if method in ("replacement", "ddrm"):
        np.testing.assert_allclose(found[:, known], x[:, known], atol=1e-4)
