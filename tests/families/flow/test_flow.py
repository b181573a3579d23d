"""Flows: densities that integrate to 1, samples that follow them, latents that come back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.readers import synthetic
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Autoencoder, Density, ImportanceWeighted, Sampler

PLANE = DataSpec("real", (2,), num_classes=3)
DIGITS = DataSpec("real", (4, 4, 1), 17, num_classes=3)
MODELS = {
    "affine": {"layers": 2, "hidden": (8,)},
    "spline": {"layers": 2, "hidden": (8,), "transform": "spline", "bins": 4},
    "additive": {"transform": "additive", "layers": 2, "hidden": (8,), "final_scale": True},
    "maf": {"flow": "autoregressive", "layers": 2, "hidden": (8,), "mixing": "reverse"},
    "logistic": {"layers": 2, "hidden": (8,), "base": "logistic"},
    "mixtures": {"layers": 1, "hidden": (8,), "transform": "logistic_mixture", "components": 3},
    "maf of a mixture": {
        **{"flow": "autoregressive", "layers": 1, "hidden": (8,), "mixing": "reverse"},
        **{"base": "mixture", "components": 3},
    },
}
IMAGES = {
    "multiscale": {"flow": "multiscale", "features": 4, "channel_layers": (1, 1)},
    "chess board": {"flow": "multiscale", "features": 4, "channel_layers": ()},
    "vectors": {"layers": 1, "hidden": (8,)},
    "transformer": {
        **{"flow": "transformer", "features": 8, "heads": 2, "blocks": 1, "patch": 2, "layers": 2}
    },
}


def build(spec, **changes):
    """The family and parameters, moved off their start."""
    model = families.default_model("flow")
    model.update({"conditional": True, **changes})
    family = families.build("flow", model, spec)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(32, *spec.shape)) if spec.levels else rng.normal(size=(32, *spec.shape))
    batch = {"x": jnp.float32(x), "label": jnp.arange(32) % 3}
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)

    def move(path, leaf):
        name = jax.tree_util.keystr(path)
        fixed = "permutation" in name or "sign" in name
        return leaf if fixed else leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32)

    return family, jax.tree_util.tree_map_with_path(move, params), extra, batch


@pytest.mark.parametrize("name", MODELS)
def test_densities_of_the_plane_integrate_to_one_for_every_label(name):
    family, params, extra, _ = build(PLANE, **MODELS[name])
    assert families.has(family, Density, Sampler, Autoencoder)
    side = np.linspace(-12, 12, 601)
    x = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    log_prob = jax.jit(family.log_prob)
    totals, each = [], []
    for label in (0, 2):
        batch = {"x": jnp.float32(x), "label": jnp.full(len(x), label)}
        found = log_prob(params, extra, batch, None)
        assert found.kind == "exact"
        each.append(np.exp(np.float64(found.value)))
        totals.append(each[-1].sum() * (side[1] - side[0]) ** 2)
    np.testing.assert_allclose(totals, 1, atol=0.01)
    assert np.abs(each[0] - each[1]).max() > 1e-3


@pytest.mark.parametrize("name", ["spline", "maf"])
def test_samples_follow_the_density(name):
    family, params, extra, _ = build(PLANE, **MODELS[name])
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(4_000))
    label = {"label": jnp.ones(4_000, jnp.int32)}
    x = np.asarray(jax.jit(family.sample)(params, extra, keys, label, {"temperature": 1.0}))
    side = np.linspace(-12, 12, 601)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    batch = {"x": jnp.float32(grid), "label": jnp.ones(len(grid), jnp.int32)}
    density = np.exp(np.float64(jax.jit(family.log_prob)(params, extra, batch, None).value))
    density = density.reshape(601, 601) * (side[1] - side[0]) ** 2
    for axis in (0, 1):
        cumulative = np.cumsum(density.sum(1 - axis))
        found = stats.kstest(x[:, axis], lambda v, c=cumulative: np.interp(v, side, c))
        assert (
            found.statistic < 0.035
        )  # 1.95 / sqrt(4,000) once in a thousand, and the grid's error


@pytest.mark.parametrize("name", IMAGES)
def test_images_come_back_from_their_latents(name):
    family, params, extra, batch = build(DIGITS, **IMAGES[name])
    encoded = jax.jit(family.encode)(params, extra, batch)
    assert encoded.mean.shape == (32, 16) == (32, family.latent_dim)
    decoded = jax.jit(family.decode)(params, extra, encoded.mean, {"label": batch["label"]})
    np.testing.assert_allclose(decoded, batch["x"], atol=1e-4)
    turn = family.turns[0]
    losses = jax.jit(lambda params: family.losses(turn, params, extra, batch, None, None))
    loss, _, metrics = losses(params)
    log_prob = jax.jit(lambda params: family.log_prob(params, extra, batch, None).value)
    nats = log_prob(params) + DIGITS.log_volume
    assert float(metrics["nll"]) == pytest.approx(-float(nats.mean()), rel=1e-5)
    assert float(loss["flow"]) == pytest.approx(float(metrics["nll"]) / 16, rel=1e-5)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(50))
    sample = jax.jit(family.sample)
    x = sample(params, extra, keys, {"label": jnp.arange(50) % 3}, {"temperature": 1.0})
    assert x.shape == (50, 4, 4, 1) and x.min() >= 0 and x.max() < 1
    x = sample(params, extra, keys, {"label": jnp.zeros(50, jnp.int32)}, {"temperature": 0.0})
    np.testing.assert_allclose(x, x[:1].repeat(50, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (DataSpec("binary", (4, 4, 1), 2), {"conditional": False}, "uniform_dequantization"),
        (
            DataSpec("real", (4, 4, 1), 256),
            {"conditional": False, "dequantization": "variational"},
            "preprocess=bytes",
        ),
        (DIGITS, {"flow": "transformer", "patch": 3}, "divide"),
        (DIGITS, {"flow": "transformer", "features": 6}, "multiple"),
        (DIGITS, {"flow": "multiscale", "channel_features": (3,)}, "a width for each"),
        (PLANE, {"flow": "multiscale"}, "images"),
        (DataSpec("real", (5, 4, 1), 256), {"flow": "multiscale", "conditional": False}, "halves"),
        (DataSpec("real", (2,)), {}, "labels"),
    ],
)
def test_what_does_not_go_together_is_refused(spec, changes, message):
    model = families.default_model("flow")
    model.update({"conditional": True, **changes})
    with pytest.raises(UserError, match=message):
        families.build("flow", model, spec)


@pytest.mark.parametrize("name", ["gaussians", "checkerboard", "ring"])
def test_known_densities_integrate_to_one_and_are_those_of_the_points(name):
    reach = 5.0 if name != "ring" else 1.2
    side = np.linspace(-reach, reach, 801) + 1e-6
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    density = np.exp(synthetic.log_density(name, grid))
    assert density.sum() * (side[1] - side[0]) ** 2 == pytest.approx(1, abs=0.02)
    x = synthetic.read(name).splits["test"].arrays["x"]
    own = synthetic.log_density(name, x)
    assert np.isfinite(own).mean() > 0.9999
    # The mean of -log p of the points is the entropy, which the grid gives too.
    entropy = -(density * np.log(np.maximum(density, 1e-300))).sum() * (side[1] - side[0]) ** 2
    assert -own[np.isfinite(own)].mean() == pytest.approx(entropy, abs=0.04)


@pytest.mark.parametrize("name", synthetic.SHAPES)
def test_shapes_are_drawn_by_a_seed(name):
    first, again = (synthetic.read(name).splits["train"].arrays["x"][:50] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first).max() < 6


BYTES = DataSpec("bytes", (2, 2, 1), 3, num_classes=3)


@pytest.mark.parametrize("noise", ["uniform", "variational"])
def test_the_probabilities_of_whole_numbers_sum_to_one(noise):
    """By many draws of the noise for each of the 81 pictures there are."""
    changes = {"flow": "multiscale", "features": 4, "checker_layers": 1, "channel_layers": (1,)}
    changes |= {"dequantization": noise, "noise_features": 4, "noise_layers": 1}
    family, params, extra, _ = build(BYTES, **changes)
    assert not families.has(family, Density) and families.has(family, ImportanceWeighted)
    x = np.stack(np.meshgrid(*[np.arange(3)] * 4), -1).reshape(-1, 2, 2, 1)
    batch = {"x": jnp.float32(x), "label": jnp.ones(81, jnp.int32)}
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(81))
    weights = jax.jit(family.log_weights, static_argnums=4)(params, extra, batch, keys, 400)
    assert weights.log_likelihood.shape == (400, 81) and weights.log_ratios.shape == (
        1,
        400,
        81,
    )
    each = np.exp(np.float64(weights.log_w))
    total, error = each.mean(0).sum(), np.sqrt((each.var(0) / 400).sum())
    # The flow has mass beside the cube, which the logit's clipping by alpha leaves out.
    assert 0.75 < total < 1 + 4 * error
    turn = family.turns[0]
    losses = jax.jit(lambda params: family.losses(turn, params, extra, batch, keys, None))
    loss, _, metrics = losses(params)
    one = jax.jit(family.log_weights, static_argnums=4)(params, extra, batch, keys, 1).log_w.mean()
    assert float(metrics["nll"]) == pytest.approx(-float(one), rel=1e-5)
    assert float(loss["flow"]) == pytest.approx(-float(one) / 4, rel=1e-5)
    sample = jax.jit(family.sample)
    drawn = sample(params, extra, keys, {"label": batch["label"]}, {"temperature": 1.0})
    assert set(np.unique(drawn)) <= {0, 1, 2}
    z = family.sample_posterior(params, extra, batch, keys)
    again = family.decode(params, extra, z, {"label": batch["label"]})
    np.testing.assert_array_equal(again, batch["x"])
    middle = family.encode(params, extra, batch).mean
    np.testing.assert_array_equal(
        family.decode(params, extra, middle, {"label": batch["label"]}), batch["x"]
    )


def test_the_density_of_learned_noise_integrates_to_one():
    changes = {"flow": "multiscale", "features": 4, "checker_layers": 1, "channel_layers": (1,)}
    changes |= {"dequantization": "variational", "noise_features": 4, "noise_layers": 1}
    family, params, _, _ = build(BYTES, **changes)
    rng = np.random.default_rng(0)
    u = jnp.float32(rng.uniform(1e-6, 1 - 1e-6, size=(200_000, 2, 2, 1)))
    picture = family._picture(jnp.ones((200_000, 2, 2, 1)))
    z, log_det = jax.jit(family.noise.forward)(params["flow"]["noise"], u, picture)
    density = np.exp(stats.logistic.logpdf(np.float64(z)).sum(1) + log_det)
    assert density.mean() == pytest.approx(1, abs=0.03)
    # What is drawn has the density that it is said to have.
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(64))
    drawn, log_q = family._draw(params, jnp.ones((64, 2, 2, 1)), keys)
    z, log_det = family.noise.forward(params["flow"]["noise"], drawn, picture[:64])
    expected = stats.logistic.logpdf(np.float64(z)).sum(1) + log_det
    np.testing.assert_allclose(log_q, expected, atol=2e-3)


def test_a_density_given_a_vector_integrates_to_one_and_follows_it():
    spec = DataSpec("real", (2,), given={"observation": DataSpec("real", (3,))})
    model = families.default_model("flow")
    model.update(conditional=True, flow="autoregressive", transform="spline", bins=4, bound=3.0)
    model.update(layers=2, hidden=(8,), mixing="reverse")
    family = families.build("flow", model, spec)
    assert family.given == ("observation",)
    rng = np.random.default_rng(0)
    observation = jnp.float32(rng.normal((5.0, -2.0, 0.0), (10.0, 0.1, 1.0), (64, 3)))
    batch = {"x": jnp.float32(rng.normal(size=(64, 2))), "observation": observation}
    params, extra = family.init(jax.random.key(0), batch)
    # What is given is standardised by the first examples, whatever their units.
    context = family._context(params, batch)
    np.testing.assert_allclose(context.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(context.std(0), 1, atol=1e-3)
    loss = lambda p: family.losses(("flow",), p, extra, batch, None, 0)[0]["flow"]  # noqa: E731
    assert all(
        (leaf == 0).all() for leaf in jax.tree.leaves(jax.grad(loss)(params)["flow"]["given"])
    )
    own = params["flow"]["bijection"]
    move = lambda leaf: leaf + 0.2 * rng.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params["flow"]["bijection"] = jax.tree.map(move, own)
    side = np.linspace(-9, 9, 361)
    x = jnp.float32(np.stack(np.meshgrid(side, side), -1).reshape(-1, 2))
    densities = []
    for row in observation[:2]:
        given = {"x": x, "observation": jnp.broadcast_to(row, (len(x), 3))}
        value = jax.jit(family.log_prob)(params, extra, given, None).value
        densities.append(np.exp(np.float64(value)))
        assert densities[-1].sum() * 0.05**2 == pytest.approx(1, abs=0.01)
    assert np.abs(densities[0] - densities[1]).max() > 1e-2
    # Samples follow the density of their own condition.
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(4_000))
    condition = {"observation": jnp.broadcast_to(observation[0], (4_000, 3))}
    drawn = np.asarray(family.sample(params, extra, keys, condition, {"temperature": 1.0}))
    mean = (densities[0][:, None] * np.asarray(x)).sum(0) * 0.05**2
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * drawn.std() / 4_000**0.5 + 0.01)
