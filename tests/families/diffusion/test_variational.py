"""The bound of variational diffusion, of data whose best denoiser is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.families.base import BoundInParts, Denoiser, Density, OdeDensity, Sampler
from gen_jax.families.diffusion.process import SCHEDULES, Process
from gen_jax.families.diffusion.variational import VariationalDiffusion

RNG = np.random.default_rng(0)
PROCESS = Process(SCHEDULES["cosine"], "preserving", "noise")
ENDS = {"denoiser": {"network": {}, "ends": {"first": jnp.float32(13.3), "last": jnp.float32(-5)}}}


@dataclasses.dataclass(frozen=True, eq=False)
class Best:
    """The noise that is to be expected of independent levels with known probabilities."""

    levels: np.ndarray
    probabilities: np.ndarray

    def apply(self, variables, z, log_snr, context):
        alpha, sigma = (v[:, None, None] for v in PROCESS.scales(log_snr))
        gaps = z[..., None] - alpha * jnp.float32(self.levels)
        log_p = jnp.log(jnp.float32(self.probabilities)) - 0.5 * jnp.square(gaps / sigma)
        x = (jax.nn.softmax(log_p, -1) * self.levels).sum(-1)
        return (z - alpha[..., 0] * x) / sigma[..., 0]


def model(probabilities, **changes):
    spec = DataSpec("bytes", (2,), len(probabilities))
    levels = np.asarray(spec.center(np.arange(len(probabilities), dtype=np.float32)))
    return VariationalDiffusion(spec, Best(levels, np.array(probabilities)), PROCESS, **changes)


def keys_of(num):
    return keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(num))


def test_with_the_best_denoiser_the_bound_is_the_entropy():
    probabilities = [0.5, 0.1, 0.15, 0.25]
    family = model(probabilities, bound_samples=50)
    x = RNG.choice(4, (20_000, 2), p=probabilities)
    batch = {"x": jnp.float32(x)}
    found = jax.jit(lambda b, k: family.log_prob(ENDS, {}, b, k))(batch, keys_of(len(x)))
    assert found.kind == "lower_bound"
    exact = np.log(np.array(probabilities))[x].sum(1)
    gap = exact - np.asarray(found.value)
    error = gap.std() / len(x) ** 0.5
    assert gap.mean() > -4 * error  # a bound
    assert gap.mean() == pytest.approx(0, abs=0.03 + 4 * error)


def test_the_costs_of_the_ends_are_those_of_numpy():
    family = model(np.full(8, 1 / 8))
    x = RNG.integers(8, size=(3, 2))
    params = {
        "denoiser": {"network": {}, "ends": {"first": jnp.float32(3), "last": jnp.float32(-2)}}
    }
    prior, reconstruction = family._ends_cost(params, {"x": jnp.float32(x)}, keys_of(3))
    centred = 2 * x / 7 - 1
    variance = 1 / (1 + np.exp(-2.0))
    square = (1 - variance) * centred**2
    expected = 0.5 * (variance + square - np.log(variance) - 1).sum(1)
    np.testing.assert_allclose(prior, expected, rtol=1e-4)
    noise = np.asarray(keys_lib.normal(keys_lib.named(keys_of(3), "least"), (2,)))
    level = np.exp(-1.5)
    density = stats.norm.pdf((centred + level * noise)[..., None], 2 * np.arange(8) / 7 - 1, level)
    share = np.take_along_axis(density, x[..., None], -1)[..., 0] / density.sum(-1)
    np.testing.assert_allclose(reconstruction, -np.log(share).sum(1), rtol=1e-3)


def test_the_ode_agrees_with_a_density_that_is_smooth_over_a_level():
    levels = 2 * np.arange(256) / 255 - 1
    mass = stats.norm.pdf(levels, 0.1, 0.25)
    # Ends between which the noise does not see single levels.
    params = {
        "denoiser": {"network": {}, "ends": {"first": jnp.float32(8.5), "last": jnp.float32(-6)}}
    }
    family = model(mass / mass.sum(), ode_steps=150)
    x = RNG.choice(256, (300, 2), p=mass / mass.sum())
    run = jax.jit(lambda b, k: family.ode_log_prob(params, {}, b, k))
    found = np.asarray(run({"x": jnp.float32(x)}, keys_of(300)))
    exact = np.log(mass / mass.sum())[x].sum(1)
    np.testing.assert_allclose(found.mean(), exact.mean(), atol=0.05)
    assert np.corrcoef(found, exact)[0, 1] > 0.98


def test_a_network_trains_with_its_ends_and_samples_bytes():
    spec = DataSpec("bytes", (6, 8, 1), 256, num_classes=3)
    config = families.default_model("diffusion")
    config.update(process="variational", prediction="noise", features=8, multipliers=(1, 2))
    config.update(heads=1, fourier=(6, 7), conditional=True, bound_samples=2, ode_steps=4)
    family = families.build("diffusion", config, spec)
    assert families.has(family, BoundInParts, Denoiser, Density, OdeDensity, Sampler)
    batch = {"x": jnp.float32(RNG.integers(256, size=(4, *spec.shape))), "label": jnp.arange(4) % 3}
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    move = lambda leaf: leaf + 0.05 * RNG.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(move, params)

    def loss(p):
        losses, _, parts = family.losses(("denoiser",), p, extra, batch, keys_of(4), 0)
        return losses["denoiser"], parts

    gradient, parts = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert set(parts) == {"prior", "reconstruction", "diffusion"}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert (leaf != 0).any(), jax.tree_util.keystr(path)
    options = {"sampler": "ddim", "steps": 3, "eta": 1.0, "churn": 0.0, "guidance": 2.0}
    drawn = np.asarray(family.sample(params, extra, keys_of(4), batch, options))
    assert drawn.shape == (4, *spec.shape) and (drawn == np.round(drawn)).all()
    assert drawn.min() >= 0 and drawn.max() <= 255
    assert np.isfinite(family.ode_log_prob(params, extra, batch, keys_of(4))).all()


def test_a_sample_of_adaptive_steps_is_the_same_in_any_batch():
    spec = DataSpec("bytes", (4, 4, 1), 256, num_classes=3)
    config = families.default_model("diffusion")
    # Without `fourier`, of which a network with random weights would make chaos.
    config.update(process="variational", prediction="noise", network="transformer", features=8)
    config.update(layers=1, heads=1, conditional=True)
    family = families.build("diffusion", config, spec)
    batch = {"x": jnp.float32(RNG.integers(256, size=(3, *spec.shape))), "label": jnp.arange(3)}
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    move = lambda leaf: leaf + 0.2 * RNG.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(move, params)
    options = {"sampler": "adaptive", "steps": 3, "tolerance": 1.0, "guidance": 3.0}
    label = batch["label"]

    def sample(keys, label):
        condition = {"label": label}
        draw = jax.jit(lambda params: family.sample(params, extra, keys, condition, options))
        return draw(params)

    together = sample(keys_of(3), label)
    alone = sample(keys_of(3)[1:2], label[1:2])
    np.testing.assert_allclose(together[1], alone[0], atol=1)  # bytes, rounded


def test_the_denoiser_takes_noise_levels_of_centred_data():
    probabilities = np.array([0.4, 0.6])
    family = model(probabilities)
    x, level = np.array([[0.3, -2.0]]), 1.2
    found = family.denoise(ENDS, {}, jnp.float32(x), jnp.float32([level]), {})
    likely = probabilities * stats.norm.pdf(x[..., None], [-1.0, 1.0], level)
    expected = (likely * [-1.0, 1.0]).sum(-1) / likely.sum(-1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
