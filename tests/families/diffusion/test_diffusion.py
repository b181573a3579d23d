"""Diffusion of Gaussian data, of which the best denoiser is known."""

import dataclasses
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from gen_jax import evaluation, families
from gen_jax import keys as keys_lib
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, denoising
from gen_jax.families.base import Autoencoder, Density, Sampler
from gen_jax.families.diffusion.family import Diffusion
from gen_jax.families.diffusion.process import (
    PREDICTIONS,
    SCALINGS,
    SCHEDULES,
    LogNormal,
    Process,
)
from gen_jax.nn import ode

OPTIONS = {"sampler": "ddim", "steps": 100, "eta": 0.0, "churn": 0.0, "guidance": 1.0}
OPTIONS |= {"guidance_interval": (0.0, 1e3), "tolerance": 1e-3}
RNG = np.random.default_rng(0)
# Of the data in units in which they have mean 0 and variance 1: correlated, so that no sampler is
# right by chance, and given a label of another mean.
MEAN, COV = np.array([0.3, -0.2]), np.array([[0.8, 0.5], [0.5, 1.1]])
ROOTS, AXES = (jnp.float32(part) for part in np.linalg.eigh(COV))
EXTRA = {"mean": jnp.float32([1.0, -2.0]), "std": jnp.float32(2.0)}


@dataclasses.dataclass(frozen=True)
class Best:
    """What the best network says of Gaussian data: E[a x + b e | z]."""

    process: Process

    def apply(self, variables, z, log_snr, context):
        alpha, sigma = (scale[:, None] for scale in self.process.scales(log_snr))
        z = z * jnp.sqrt(alpha**2 + sigma**2)  # networks are given z at one width
        # Along the axes of the covariance each coordinate is by itself.
        gain = alpha * ROOTS / (alpha**2 * ROOTS + sigma**2)
        x = MEAN + ((z - alpha * MEAN) @ AXES * gain) @ AXES.T
        noise = (z - alpha * x) / sigma
        return self.process.target(x, noise, log_snr)


def best(schedule="cosine", scaling="preserving", prediction="v", **changes):
    process = Process(SCHEDULES.get(schedule, schedule), scaling, prediction)
    return Diffusion(DataSpec("real", (2,)), Best(process), process, **changes)


def exact():
    std = float(EXTRA["std"])
    return stats.multivariate_normal(MEAN * std + np.asarray(EXTRA["mean"]), COV * std**2)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_the_network_says_is_taken_apart_again(scaling, prediction):
    process = Process(SCHEDULES["cosine"], scaling, prediction)
    x, noise = (jnp.float32(RNG.normal(size=(7, 2, 3))) for _ in range(2))
    log_snr = jnp.linspace(-4, 4, 7)
    alpha, sigma = (v[:, None, None] for v in process.scales(log_snr))
    z = alpha * x + sigma * noise
    target = process.target(x, noise, log_snr)
    found = process.both(z, target, log_snr)
    np.testing.assert_allclose(found[0], x, atol=2e-4)
    np.testing.assert_allclose(found[1], noise, atol=2e-4)
    error = jnp.float32(RNG.normal(size=x.shape))
    wrong = process.both(z, target + error, log_snr)[1] - noise
    np.testing.assert_allclose(process.noise_error(error, log_snr), wrong, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scales_have_the_ratio_that_they_are_asked_for(scaling):
    log_snr = jnp.linspace(-8, 8, 33)
    alpha, sigma = Process(SCHEDULES["cosine"], scaling, "v").scales(log_snr)
    np.testing.assert_allclose(2 * jnp.log(alpha / sigma), log_snr, atol=1e-4)
    whole = {"preserving": alpha**2 + sigma**2, "exploding": alpha, "convex": alpha + sigma}
    np.testing.assert_allclose(whole[scaling], 1, rtol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_fall_and_ladders_rise(schedule):
    process = Process(SCHEDULES[schedule], "preserving", "v")
    t = jnp.linspace(0, 1, 200)
    falls = jnp.diff(process.log_snr(t))
    assert (falls <= 0).all() and (falls[20:-20] < 0).all()
    ladder = process.ladder(30)
    assert ladder.shape == (30,) and (jnp.diff(ladder) > 0).all()
    assert ladder[0] < -6 and ladder[-1] > 6


def test_schedules_are_those_of_the_papers():
    t = np.linspace(0.05, 0.95, 19)
    cosine = Process(SCHEDULES["cosine"], "preserving", "v").log_snr(jnp.float32(t))
    np.testing.assert_allclose(cosine, -2 * np.log(np.tan(np.pi * t / 2)), atol=0.16)
    # DDPM: the product of 1 - beta, with 1,000 betas from 1e-4 to .02.
    alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 1_000))
    linear = Process(SCHEDULES["linear"], "preserving", "v").log_snr(jnp.float32(t))
    discrete = np.log(alphas / (1 - alphas))[np.int64(1_000 * t) - 1]
    np.testing.assert_allclose(linear, discrete, atol=0.25)
    straight = Process(SCHEDULES["straight"], "convex", "velocity")
    alpha, sigma = straight.scales(straight.log_snr(jnp.float32(t)))
    np.testing.assert_allclose(alpha, 1 - t, rtol=1e-4)
    np.testing.assert_allclose(sigma, t, rtol=1e-4)
    levels = np.exp(-np.asarray(Process(SCHEDULES["log_normal"], "exploding", "v").ladder(18)) / 2)
    steps = np.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 18) ** 7  # EDM, equation 5
    np.testing.assert_allclose(levels, 2 * steps, rtol=1e-3)  # of data twice as wide as theirs
    draws = -Process(SCHEDULES["log_normal"], "exploding", "v").log_snr(
        jnp.float32(RNG.uniform(size=40_000))
    )
    assert draws.mean() / 2 == pytest.approx(-1.2 + np.log(2), abs=0.03)
    assert draws.std() / 2 == pytest.approx(1.2, abs=0.03)


def test_the_noise_of_edm_is_where_it_is_asked_for():
    changes = {"noise_mean": -3.0, "noise_std": 0.5, "least_noise": 1e-3}
    process = build(PLANE, schedule="log_normal", **changes)[0].process
    draws = -process.log_snr(jnp.float32(RNG.uniform(size=40_000))) / 2
    assert draws.mean() == pytest.approx(-3 + np.log(2), abs=0.01)
    assert draws.std() == pytest.approx(0.5, abs=0.01)
    ladder = np.exp(-np.asarray(process.ladder(9)) / 2)
    assert ladder[0] == pytest.approx(160, rel=1e-4) and ladder[-1] == pytest.approx(2e-3, rel=1e-4)
    with pytest.raises(UserError, match=r"model\.schedule=log_normal"):
        build(PLANE, schedule="cosine", noise_std=0.5)


SAMPLED = [
    ("cosine", "preserving", "v", {"sampler": "ddim", "eta": 1.0, "steps": 300}),
    ("cosine", "preserving", "noise", {"sampler": "ddim", "steps": 200}),
    ("linear", "preserving", "noise", {"sampler": "dpm", "steps": 50}),
    ("log_normal", "exploding", "v", {"sampler": "heun", "steps": 60}),
    ("log_normal", "exploding", "data", {"sampler": "heun", "steps": 160, "churn": 10.0}),
    ("cosine", "preserving", "v", {"sampler": "heun", "steps": 25}),
    ("cosine", "preserving", "v", {"sampler": "heun", "steps": 160, "churn": 10.0}),
    ("straight", "convex", "velocity", {"sampler": "heun", "steps": 13}),
    ("straight", "convex", "velocity", {"sampler": "dpm", "steps": 50}),
    ("straight", "convex", "velocity", {"sampler": "ddim", "eta": 1.0, "steps": 300}),
    ("cosine", "preserving", "v", {"sampler": "corrected", "steps": 150}),
    ("log_normal", "exploding", "v", {"sampler": "corrected", "steps": 100}),
    ("log_normal", "exploding", "v", {"sampler": "adaptive", "steps": 2}),
    ("straight", "convex", "velocity", {"sampler": "adaptive", "steps": 1_000}),
]


@pytest.mark.parametrize(("schedule", "scaling", "prediction", "options"), SAMPLED)
def test_every_sampler_lands_on_the_data(schedule, scaling, prediction, options):
    family = best(schedule, scaling, prediction)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(8_000))
    draw = jax.jit(lambda k: family.sample({"denoiser": {}}, EXTRA, k, {}, OPTIONS | options))
    x = np.asarray(draw(keys), np.float64)
    expected = exact()
    scale = np.sqrt(np.diag(expected.cov))
    np.testing.assert_allclose((x.mean(0) - expected.mean) / scale, 0, atol=0.05)
    found = np.cov(x.T) / np.outer(scale, scale)
    np.testing.assert_allclose(found, expected.cov / np.outer(scale, scale), atol=0.05)


@pytest.mark.parametrize("sampler", ["dpm", "adaptive"])
def test_guidance_by_a_classifier_tilts_the_density(sampler):
    """p(x) exp(w x) of normal x is normal too, and what guides is exact of a linear exponent."""
    family, weight = best("straight", "convex", "velocity"), np.array([0.4, -0.3])
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(8_000))
    options = OPTIONS | {"sampler": sampler, "steps": 60}
    condition = {"label": jnp.arange(8_000) % 2}

    def log_prob(x, own):  # the other class is drawn away from it
        return (x @ jnp.float32(weight)) * (1 - 2 * own["label"])

    draw = jax.jit(lambda k: family.guide({"denoiser": {}}, EXTRA, k, log_prob, condition, options))
    x, expected = np.asarray(draw(keys), np.float64), exact()
    scale = np.sqrt(np.diag(expected.cov))
    for label, sign in enumerate((1, -1)):
        own = x[label::2]
        mean = expected.mean + sign * expected.cov @ weight
        np.testing.assert_allclose((own.mean(0) - mean) / scale, 0, atol=0.06)
        found = np.cov(own.T) / np.outer(scale, scale)
        np.testing.assert_allclose(found, expected.cov / np.outer(scale, scale), atol=0.07)


def test_a_sample_of_adaptive_steps_is_the_same_in_any_batch():
    family, params, extra, batch = build(IMAGES["even"], **NETWORKS["transformer of patches"])
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(3))
    options = OPTIONS | {"sampler": "adaptive", "steps": 3, "tolerance": 0.1, "guidance": 2.0}
    condition = {"label": batch["label"][:3]}
    found = jax.jit(lambda params: family.film(params, extra, keys, condition, options))(params)
    assert found.shape == (4, 3, 8, 8, 1) and np.isfinite(found).all()
    own = {"label": condition["label"][1:2]}
    alone = jax.jit(lambda params: family.sample(params, extra, keys[1:2], own, options))(params)
    np.testing.assert_allclose(found[-1, 1], alone[0], atol=1e-3)
    assert family.sampling_calls(options) is None
    with pytest.raises(UserError, match="adaptive takes as many calls as each sample needs"):
        family.within_calls(options, 10)


def test_adaptive_steps_without_their_library_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    family = best()
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(2))
    with pytest.raises(UserError, match="pip install 'gen_jax\\[ode\\]'"):
        family.sample({"denoiser": {}}, EXTRA, keys, {}, OPTIONS | {"sampler": "adaptive"})


def test_one_ancestral_step_is_ddpms_posterior():
    """Mean and variance of q(z_s | z_t, x), by the product of two Gaussians."""
    process = Process(SCHEDULES["cosine"], "preserving", "v")
    ladder = jnp.float32([-1.0, 0.5])
    (alpha, then), (sigma, next_sigma) = (np.float64(v) for v in process.scales(ladder))
    x, z = np.float32([[0.7, -1.0]]), np.float32([[0.2, 0.4]])
    ratio = alpha / then
    step = sigma**2 - ratio**2 * next_sigma**2  # variance of z_t given z_s
    precision = 1 / next_sigma**2 + ratio**2 / step
    mean = (then * x / next_sigma**2 + ratio * z / step) / precision
    draws = []

    def denoise(z, log_snr):
        draws.append(z)
        a, s = process.scales(log_snr[0])
        return jnp.broadcast_to(x, z.shape), (z - a * x) / s

    from gen_jax.families.diffusion import samplers

    with jax.disable_jit():  # so that what the second step is given can be seen
        keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(4_000))
        start = jnp.broadcast_to(z, (4_000, 2))
        samplers.ddim(denoise, process, ladder, start, keys, OPTIONS | {"eta": 1.0})
    second = np.asarray(draws[1], np.float64)
    np.testing.assert_allclose(second.mean(0), mean[0], atol=0.03)
    np.testing.assert_allclose(second.var(0), 1 / precision, rtol=0.08)


@pytest.mark.parametrize(
    ("schedule", "scaling"),
    [
        ("cosine", "preserving"),
        ("log_normal", "exploding"),
        ("straight", "convex"),
        # Trained at few levels: the density is of all, as samples are.
        (LogNormal(mean=-3.0, std=0.5), "exploding"),
    ],
)
def test_the_density_of_gaussian_data_is_exact(schedule, scaling):
    family = best(schedule, scaling, ode_steps=200)
    expected = exact()
    x = expected.rvs(40, random_state=0)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(40))
    batch = {"x": jnp.float32(x), "label": jnp.zeros(40, jnp.int32)}
    found = jax.jit(family.log_prob)({"denoiser": {}}, EXTRA, batch, keys)
    assert found.kind == "estimate"
    np.testing.assert_allclose(found.value, expected.logpdf(x), atol=0.05)


def test_the_estimated_trace_is_right_in_the_mean():
    matrix = jnp.float32(RNG.normal(size=(20, 20)))
    y = jnp.float32(RNG.normal(size=(5_000, 20)))
    signs = jnp.float32(RNG.choice([-1, 1], size=y.shape))
    moved, trace = ode.with_trace(lambda y: y @ matrix.T, y, signs)
    np.testing.assert_allclose(moved, y @ matrix.T, rtol=1e-4, atol=1e-4)
    error = np.std(trace) / 5_000**0.5
    assert abs(trace.mean() - jnp.trace(matrix)) < 5 * error
    small = matrix[:3, :3]
    _, exactly = ode.with_trace(lambda y: jnp.tanh(y @ small.T), y[:9, :3], signs[:9, :3])
    each = [jnp.trace(jax.jacfwd(lambda v: jnp.tanh(v @ small.T))(row)) for row in y[:9, :3]]
    np.testing.assert_allclose(exactly, each, rtol=1e-4, atol=1e-5)


PLANE = DataSpec("real", (2,), num_classes=3)
IMAGES = {
    "even": DataSpec("real", (8, 8, 1), 17, num_classes=3),
    "odd, not square, of three channels": DataSpec("real", (5, 7, 3), 256, num_classes=3),
}


def build(spec, **changes):
    model = families.default_model("diffusion")
    model.update(features=8, multipliers=(1, 2), heads=2, hidden=(16, 16), conditional=True)
    model.update(network="unet" if spec.is_image else "mlp", ode_steps=8)
    model.update(changes)
    family = families.build("diffusion", model, spec)
    x = RNG.uniform(size=(6, *spec.shape)) if spec.levels else RNG.normal(size=(6, *spec.shape))
    batch = {"x": jnp.float32(x), "label": jnp.arange(6) % 3}
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    move = lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    return family, jax.tree.map(move, params), extra, batch


NETWORKS = {
    "u-net": {},
    "u-net of patches": {"patch": 2},
    "transformer": {"network": "transformer", "layers": 2},
    "transformer of patches": {"network": "transformer", "layers": 1, "patch": 4},
}


@pytest.mark.parametrize(
    ("spec", "changes"),
    [(IMAGES["even"], changes) for changes in NETWORKS.values()]
    + [
        (IMAGES["odd, not square, of three channels"], NETWORKS[n])
        for n in ("u-net", "transformer")
    ],
)
def test_networks_train_and_sample_images_of_any_size(spec, changes):
    family, params, extra, batch = build(spec, **changes)
    assert families.has(family, Density, Sampler)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(6))
    loss = lambda p: family.losses(("denoiser",), p, extra, batch, keys, 0)[0]["denoiser"]  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert (leaf != 0).any(), jax.tree_util.keystr(path)
    condition = {"label": batch["label"]}
    draw = jax.jit(lambda k, g: family.sample(params, extra, k, condition, g), static_argnums=1)
    from flax.core import FrozenDict

    few = OPTIONS | {"steps": 3}
    plain = draw(keys, FrozenDict(few))
    assert plain.shape == (6, *spec.shape) and ((plain >= 0) & (plain < 1)).all()
    guided = draw(keys, FrozenDict(few | {"guidance": 3.0}))
    assert np.abs(guided - plain).max() > 1e-4


def test_a_guidance_of_one_is_none_and_more_is_a_line():
    family, params, extra, batch = build(PLANE)
    z, log_snr = batch["x"], jnp.zeros(6)
    said = {
        weight: family.denoiser(params, extra, batch, weight)(z, log_snr)[1]
        for weight in (0.0, 1.0, 3.0)
    }
    np.testing.assert_allclose(said[3.0], 3 * said[1.0] - 2 * said[0.0], rtol=1e-4, atol=1e-5)
    other = batch | {"label": (batch["label"] + 1) % 3}
    changed = family.denoiser(params, extra, other, 0.0)(z, log_snr)[1]
    np.testing.assert_allclose(changed, said[0.0], rtol=1e-5)
    assert (
        np.abs(family.denoiser(params, extra, other, 1.0)(z, log_snr)[1] - said[1.0]).max() > 0.01
    )


@pytest.mark.parametrize("weighting", ["simple", "elbo", "min_snr"])
def test_losses_are_what_they_claim(weighting):
    """By numpy, of a network that says 0: its error is the target itself."""

    class Nothing(nn.Module):
        def __call__(self, z, log_snr, context):
            return jnp.zeros_like(z)

    process = Process(SCHEDULES["cosine"], "preserving", "noise")
    spec = DataSpec("real", (3,))
    family = Diffusion(spec, Nothing(), process, weighting=weighting)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(500))
    extra = {"mean": jnp.zeros(3), "std": jnp.ones(3)}
    batch = {"x": jnp.float32(RNG.normal(size=(500, 3)))}
    loss, _, metrics = family.losses(("denoiser",), {"denoiser": {}}, extra, batch, keys, 0)
    t = np.float64(keys_lib.uniform(keys_lib.named(keys, "t")))
    noise = np.float64(keys_lib.normal(keys_lib.named(keys, "noise"), (3,)))
    of_noise = (noise**2).mean(1)  # what it says of the noise is 0
    log_snr = np.float64(process.log_snr(jnp.float32(t)))
    step = 1e-3
    above, below = (np.float64(process.log_snr(jnp.float32(t + s))) for s in (step, -step))
    weight = {
        "simple": 1.0,
        "elbo": -(above - below) / (2 * step) / 2,
        "min_snr": np.minimum(np.exp(log_snr), 5.0) / np.exp(log_snr),
    }[weighting]
    inside = (t > 0.02) & (t < 0.98)
    assert inside.mean() > 0.9
    if weighting != "elbo":  # whose difference quotient is no slope at the ends
        np.testing.assert_allclose(loss["denoiser"], (weight * of_noise).mean(), rtol=1e-3)
    else:
        params = {"denoiser": {}}
        for i in np.flatnonzero(inside)[:5]:
            one = {"x": batch["x"][i : i + 1]}
            found = family.losses(("denoiser",), params, extra, one, keys[i : i + 1], 0)[0]
            np.testing.assert_allclose(found["denoiser"], weight[i] * of_noise[i], rtol=1e-2)
    np.testing.assert_allclose(metrics["noise_error"], of_noise.mean(), rtol=1e-3)


def test_the_denoiser_is_of_the_datas_units():
    family = best()
    extra = {"mean": jnp.float32(2.0), "std": jnp.float32(0.5)}
    x = jnp.float32(RNG.normal(2, 1, size=(5, 2)))
    level = jnp.float32([0.7] * 5)
    found = family.denoise({"denoiser": {}}, extra, x, level, {})
    cov, mean = COV * 0.25, MEAN * 0.5 + 2
    gain = cov @ np.linalg.inv(cov + 0.49 * np.eye(2))
    expected = mean + (np.asarray(x) - mean) @ gain.T
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "changes", [{"conditional": False}, {"label_dropout": 0.0}], ids=["no label", "always a label"]
)
def test_guidance_needs_a_label_that_training_left_out(changes):
    family, params, extra, batch = build(PLANE, **changes)
    with pytest.raises(UserError, match="guidance needs a class-conditional model"):
        family.denoiser(params, extra, batch, 2.0)


def test_a_denoiser_given_vectors_reads_them_in_their_own_units():
    spec = DataSpec("real", (2,), given={"observation": DataSpec("real", (2,))})
    model = families.default_model("diffusion")
    model.update(network="mlp", hidden=(16,), conditional=True)
    family = families.build("diffusion", model, spec)
    assert family.given == ("observation",)
    x = RNG.normal((50.0, 0.0), (3.0, 1.0), (200, 2)).astype(np.float32)
    batch = {"x": jnp.asarray(x), "observation": jnp.asarray(100 * x)}
    params, extra = family.init(jax.random.key(0), batch)
    np.testing.assert_allclose(extra["mean"], x.mean(0), rtol=1e-5)
    assert float(extra["std"]) == pytest.approx((x - x.mean(0)).std(), rel=1e-5)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(200))
    given = family._context(extra, batch, keys)  # vectors are never left out
    np.testing.assert_allclose(given, (x - x.mean(0)) / x.std(0), atol=1e-2)
    move = lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(move, params)
    one = family.denoiser(params, extra, batch, 1.0)(jnp.zeros((200, 2)), jnp.zeros(200))[0]
    assert np.ptp(one, 0).max() > 1e-3


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="noise is added to real numbers"):
        build(DataSpec("binary", (4, 4, 1), levels=2, num_classes=3))
    with pytest.raises(UserError, match="it has convolutions"):
        build(PLANE, network="unet")
    with pytest.raises(UserError, match="multiple of 8"):
        build(IMAGES["even"], features=12)
    with pytest.raises(UserError, match=r"model\.patch=3 must divide the image's sides, 8 and 8"):
        build(IMAGES["even"], patch=3)
    with pytest.raises(UserError, match="it has places"):
        build(PLANE, network="transformer")
    with pytest.raises(UserError, match="multiple of 2"):
        build(IMAGES["even"], network="transformer", heads=3)
    with pytest.raises(UserError, match="elements are hidden"):
        build(IMAGES["even"], process="absorbing")
    with pytest.raises(UserError, match="preprocess=bytes"):
        build(IMAGES["even"], process="variational")


def test_the_error_of_the_best_denoiser_is_the_posteriors_variance():
    spec = DataSpec("real", (2,))
    extra = {"mean": jnp.float32(0.0), "std": jnp.float32(1.0)}
    x = RNG.multivariate_normal(MEAN, COV, 4_000).astype(np.float32)
    examples = ArrayExamples("test", {"x": x})
    settings = ConfigDict({"batch_size": 1_000, "num_examples": 0})
    subject = Subject(best(), spec, {"denoiser": {}}, extra)
    context = Context(subject, Dataset("given", spec, {"test": examples}), "test", settings)
    found = evaluation.evaluate(context, ["denoising_mse"])["denoising_mse"]
    expected = [
        np.trace(np.linalg.inv(np.linalg.inv(COV) + np.eye(2) / level**2)) / 2
        for level in denoising.LEVELS
    ]
    assert found.value == pytest.approx(np.mean(expected), abs=5 * found.stderr)
    assert found.stderr < 0.01


@pytest.mark.parametrize("sampler", ["ddim", "corrected", "heun", "dpm"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_calls_of_the_network_are_counted(sampler, guidance):
    family, params, extra, batch = build(PLANE)
    asked = []
    network = family.network

    class Counting:
        def apply(self, *inputs):
            jax.debug.callback(lambda: asked.append(1))
            return network.apply(*inputs)

    counting = dataclasses.replace(family, network=Counting())
    options = OPTIONS | {"sampler": sampler, "steps": 6, "guidance": guidance}
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(6))
    jax.block_until_ready(counting.sample(params, extra, keys, batch, options))
    jax.effects_barrier()
    assert len(asked) == family.sampling_calls(options)
    for calls in (2, 5, 9, 40):
        own = family.within_calls(options, calls)
        taken = family.sampling_calls(own)
        assert taken <= calls < family.sampling_calls(own | {"steps": own["steps"] + 1})


@pytest.mark.parametrize("sampler", ["ddim", "corrected", "heun", "dpm"])
def test_a_film_begins_with_noise_and_ends_with_the_sample(sampler):
    family = best("log_normal", "exploding", "v")
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(2_000))
    options = OPTIONS | {"sampler": sampler, "steps": 12}
    frames = family.film({"denoiser": {}}, EXTRA, keys, {}, options)
    assert frames.shape == (13, 2_000, 2)
    x = family.sample({"denoiser": {}}, EXTRA, keys, {}, options)
    np.testing.assert_allclose(frames[-1], x, rtol=1e-5, atol=1e-5)
    # Noise of as much width as the data have.
    np.testing.assert_allclose(frames[0].std(0), EXTRA["std"], rtol=0.06)
    np.testing.assert_allclose(frames[0].mean(0), EXTRA["mean"], atol=0.2)
    moves = np.abs(np.diff(frames, axis=0)).mean((1, 2))
    assert (moves > 0).all()


@pytest.mark.parametrize(
    ("schedule", "scaling"), [("cosine", "preserving"), ("log_normal", "exploding")]
)
def test_latents_are_standard_normal_and_lead_back(schedule, scaling):
    family = best(schedule, scaling, ode_steps=100)
    assert families.has(family, Autoencoder) and family.latent_dim == 2
    x = jnp.float32(exact().rvs(3_000, random_state=0))
    found = jax.jit(lambda x: family.encode({"denoiser": {}}, EXTRA, {"x": x}))(x)
    z = np.asarray(found.mean)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.08)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.1)
    assert np.isneginf(found.log_variance).all()
    back = jax.jit(lambda z: family.decode({"denoiser": {}}, EXTRA, z, {}))(z)
    np.testing.assert_allclose(back, x, atol=0.02)


def test_edits_keep_as_much_as_the_noise_leaves():
    """Of Gaussian data z and x are Gaussian together: x given z is known."""
    family, std = best(), float(EXTRA["std"])
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(4_000))
    one = np.asarray(EXTRA["mean"]) + np.array([3.0, 1.0])
    batch = {"x": jnp.tile(jnp.float32(one), (4_000, 1))}

    def edit(level, **options):
        options = {**OPTIONS, "eta": 1.0, "steps": 200, **options}
        draw = jax.jit(lambda k: family.edit({"denoiser": {}}, EXTRA, batch, k, level, options))
        return np.asarray(draw(keys))

    np.testing.assert_allclose(edit(0.02), batch["x"], atol=0.15)
    cov, mean, level = COV * std**2, MEAN * std + np.asarray(EXTRA["mean"]), 1.5
    gain = cov @ np.linalg.inv(cov + level**2 * np.eye(2))
    found = edit(level)
    np.testing.assert_allclose(found.mean(0), mean + gain @ (one - mean), atol=0.12)
    spread = gain @ (level**2 * np.eye(2)) @ gain.T + cov - gain @ cov
    np.testing.assert_allclose(np.cov(found.T), spread, atol=0.25)


def test_guidance_is_within_its_interval():
    family, params, extra, batch = build(PLANE)
    z, log_snr = batch["x"], -2 * jnp.log(jnp.float32([0.1, 0.4, 0.5, 1.0, 2.0, 3.0]))
    options = OPTIONS | {"guidance": 3.0, "guidance_interval": (0.4, 2.0)}
    found = family._guided(params, extra, batch, options)(z, log_snr)[1]
    plain = family.denoiser(params, extra, batch)(z, log_snr)[1]
    guided = family.denoiser(params, extra, batch, 3.0)(z, log_snr)[1]
    inside = [False, True, True, True, True, False]
    expected = np.where(np.array(inside)[:, None], guided, plain)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
