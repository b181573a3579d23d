"""Bounds and the estimators of their gradients, against closed forms of a linear Gaussian VAE."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import families, keys
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.vae import objectives

SIGMA = 0.7
DECODER = np.array([[1.2, -0.4]])  # z [1] -> x [2]
X = np.array([[0.9, -1.1]], np.float32)


def test_miwae_by_hand():
    log_w = np.random.default_rng(0).normal(size=(6, 4)) * 3
    groups = np.exp(log_w).reshape(2, 3, 4)
    expected = np.log(groups.mean(1)).mean(0)
    np.testing.assert_allclose(objectives.miwae(jnp.float32(log_w), 3), expected, rtol=1e-5)
    share = objectives.normalized_weights(jnp.float32(log_w), 3).reshape(2, 3, 4)
    np.testing.assert_allclose(share, groups / groups.sum(1, keepdims=True), rtol=1e-5)


def test_scaled_gradient():
    x, factor = jnp.arange(3.0), jnp.array([2.0, 0.0, -1.0])
    value, grads = jax.value_and_grad(
        lambda x, f: (objectives.scale_gradient(x, f) ** 2).sum(), (0, 1)
    )(x, factor)
    assert value == 5.0
    np.testing.assert_allclose(grads[0], 2 * x * factor)
    np.testing.assert_array_equal(grads[1], 0)


def build(**changes):
    """x = z W + sigma e with z in one dimension, and an encoder with free mean and variance."""
    spec = DataSpec("real", (2,))
    model = families.default_model("vae")
    model.update(hidden=(), latent_dim=1, likelihood="gaussian", sigma=SIGMA)
    model.update(**changes)
    return families.build("vae", model, spec)


def params(off=0.0):
    """The exact posterior at X, moved by `off` in its mean and its log sigma."""
    precision = 1 + (DECODER**2).sum() / SIGMA**2
    slope = DECODER / SIGMA**2 / precision
    log_sigma = -0.5 * np.log(precision)
    return {
        "vae": {
            "decoder": {"output": {"kernel": jnp.float32(DECODER), "bias": jnp.zeros(2)}},
            "posterior": {
                "kernel": jnp.float32(np.stack([slope[0], np.zeros(2)], 1)),
                "bias": jnp.float32([off, log_sigma + off]),
            },
        }
    }


def loss(family, tree, key, size=1):
    batch = {"x": jnp.tile(X, (size, 1)), "label": jnp.zeros(size, jnp.int32)}
    each = keys.per_example(key, jnp.arange(size))
    return family.losses(("vae",), tree, {}, batch, each, jnp.int32(0))[0]["vae"]


def gradients(family, tree, num=3_000):
    """One gradient of the encoder's bias [num, 2] for each of `num` draws."""
    streams = keys.per_example(keys.stream(0, "test"), jnp.arange(num))

    def one(key):
        return jax.grad(lambda t: loss(family, t, key))(tree)["vae"]["posterior"]["bias"]

    return np.asarray(jax.jit(jax.vmap(one))(streams), np.float64)


EXACT = stats.multivariate_normal(np.zeros(2), DECODER.T @ DECODER + SIGMA**2 * np.eye(2)).logpdf(X)


@pytest.mark.parametrize("estimator", ["standard", "stl", "dreg"])
@pytest.mark.parametrize(("bounds", "samples"), [(1, 1), (1, 5), (3, 4)])
def test_every_bound_is_tight_at_the_exact_posterior(estimator, bounds, samples):
    family = build(estimator=estimator, num_bounds=bounds, importance_samples=samples)
    found = loss(family, params(), keys.stream(0, "x"), 3)
    np.testing.assert_allclose(-found, EXACT, rtol=1e-4)


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_without_the_score_function_the_gradient_vanishes_there(estimator):
    """Roeder et al. 2017, section 3: at the exact posterior log w is constant in z."""
    family = build(estimator=estimator, importance_samples=4)
    assert np.abs(gradients(family, params(), 50)).max() < 1e-4
    noisy = gradients(build(estimator="standard", importance_samples=4), params(), 50)
    assert np.abs(noisy).max() > 0.1


@pytest.mark.parametrize("beta", [1.0, 0.5, 3.0])
@pytest.mark.parametrize(("bounds", "samples"), [(1, 1), (1, 5), (2, 4)])
def test_dreg_has_the_mean_of_the_standard_gradient_and_less_variance(bounds, samples, beta):
    tree = params(off=0.4)
    common = {"num_bounds": bounds, "importance_samples": samples, "beta": beta}
    standard = gradients(build(estimator="standard", **common), tree, 20_000)
    dreg = gradients(build(estimator="dreg", **common), tree, 20_000)
    for column in range(2):
        assert stats.ttest_ind(standard[:, column], dreg[:, column]).pvalue > 1e-3
        assert np.abs(dreg[:, column].mean()) > 5 * stats.sem(dreg[:, column])
    assert dreg.var(0).sum() < standard.var(0).sum()


def test_dreg_is_unbiased_while_the_rate_is_warmed_up():
    """Beta is then a traced number between 0 and its value."""
    tree, common = params(off=0.4), {"importance_samples": 5, "beta_warmup_steps": 4}
    found = [
        gradients(build(estimator=estimator, **common), tree, 20_000)
        for estimator in ("standard", "dreg")
    ]
    for column in range(2):
        assert stats.ttest_ind(found[0][:, column], found[1][:, column]).pvalue > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"upper_latent_dims": (1,), "upper_hidden": ()},
        {"flow_steps": 1, "flow_hidden": (3,)},
        {"prior": "mixture", "prior_components": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_dreg_is_unbiased_in_all_of_the_encoder(changes):
    """Of several layers, with a flow, and with a prior that learns; at a beta of one half."""
    given = {"x": jnp.tile(X, (1, 1)), "label": jnp.zeros(1, jnp.int32)}
    common = {"importance_samples": 4, "beta": 0.5, **changes}
    families_ = [build(estimator=estimator, **common) for estimator in ("standard", "dreg")]
    tree, _ = families_[0].init(jax.random.key(3), given)
    flat, unravel = jax.flatten_util.ravel_pytree(tree)
    names = jax.tree_util.tree_flatten_with_path(tree)[0]
    of_decoder = jnp.concatenate(
        [jnp.full(leaf.size, "decoder" in jax.tree_util.keystr(path)) for path, leaf in names]
    )
    streams = keys.per_example(keys.stream(0, "test"), jnp.arange(20_000))

    def mean_and_error(family):
        one = jax.grad(lambda v, key: loss(family, unravel(v), key))
        found = jax.jit(lambda: jax.lax.map(lambda k: one(flat, k), streams, batch_size=500))()
        found = np.asarray(found, np.float64)[:, ~of_decoder]
        return found.mean(0), found.std(0) / len(found) ** 0.5

    (standard, error), (dreg, other) = map(mean_and_error, families_)
    assert np.abs(standard).max() > 0.05
    far = np.abs(standard - dreg) / np.maximum(np.hypot(error, other), 1e-6)
    assert far.max() < 4.5, far


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_of_one_sample_every_estimator_is_unbiased_at_every_beta(beta):
    tree = params(off=0.4)
    exact = gradients(build(estimator="analytic", beta=beta), tree, 20_000)
    for estimator in ("standard", "stl", "dreg"):
        found = gradients(build(estimator=estimator, beta=beta), tree, 20_000)
        for column in range(2):
            assert stats.ttest_ind(exact[:, column], found[:, column]).pvalue > 1e-3


def test_one_sample_estimators_have_the_mean_of_the_closed_form():
    tree = params(off=0.4)
    exact = gradients(build(estimator="analytic"), tree)
    for estimator in ("standard", "stl", "dreg"):
        found = gradients(build(estimator=estimator), tree)
        for column in range(2):
            assert stats.ttest_ind(exact[:, column], found[:, column]).pvalue > 1e-3


@pytest.mark.parametrize("samples", [1, 3])
def test_the_decoders_gradient_is_the_same_for_all(samples):
    tree, found = params(off=0.4), {}
    for estimator in ("standard", "stl", "dreg"):
        family = build(estimator=estimator, importance_samples=samples)
        grads = jax.grad(lambda t, f=family: loss(f, t, keys.stream(0, "x"), 5))(tree)
        found[estimator] = np.asarray(grads["vae"]["decoder"]["output"]["kernel"])
    np.testing.assert_allclose(found["stl"], found["standard"], rtol=1e-4)
    np.testing.assert_allclose(found["dreg"], found["standard"], rtol=1e-4)


def test_more_samples_are_a_tighter_bound():
    tree, found = params(off=0.5), []
    for bounds, samples in ((1, 1), (50, 1), (1, 5), (10, 5), (1, 50)):
        family = build(estimator="standard", num_bounds=bounds, importance_samples=samples)
        found.append(-float(loss(family, tree, keys.stream(0, "x"), 4_000)))
    np.testing.assert_allclose(found[0], found[1], atol=0.1)  # more bounds: the same mean
    np.testing.assert_allclose(found[2], found[3], atol=0.1)
    assert found[1] < found[3] < found[4] < EXACT + 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": "analytic", "importance_samples": 5}, "use --config.model.estimator=standa"),
        ({"estimator": "x"}, r"unknown model\.estimator 'x'; valid are: auto, analytic, standard"),
        ({"importance_samples": 0}, "must be at least 1"),
        ({"prior": "label"}, "needs labels"),
        ({"prior": "vamp", "prior_components": 2_000}, "prior_components=1000"),
        ({"autoencoder": True, "prior": "mixture"}, "has no prior"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(**changes)


def test_the_estimator_follows_from_the_rest():
    assert build().estimator == "analytic"
    assert build(num_bounds=5).estimator == "analytic"
    assert build(importance_samples=5).estimator == "standard"
    assert build(prior="mixture").estimator == "standard"
    assert build(upper_latent_dims=(2,)).estimator == "standard"


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_rate_that_is_logged_is_not_weighted(beta):
    """By one draw of the exact posterior log w is log p(x): rate + distortion = -log p(x)."""
    family = build(estimator="standard", beta=beta)
    given = {"x": jnp.asarray(X), "label": jnp.zeros(1, jnp.int32)}
    each = keys.per_example(keys.stream(0, "test"), jnp.arange(1))
    losses, _, metrics = family.losses(("vae",), params(), {}, given, each, jnp.int32(0))
    cov = DECODER.T @ DECODER + SIGMA**2 * np.eye(2)
    exact = stats.multivariate_normal(np.zeros(2), cov).logpdf(X[0])
    assert metrics["elbo"] == pytest.approx(exact, rel=1e-4)
    weighted = metrics["distortion"] + beta * metrics["rate"]
    assert losses["vae"] == pytest.approx(float(weighted), rel=1e-5)
    assert abs(metrics["rate"]) > 0.1
