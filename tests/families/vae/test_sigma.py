"""The optimal sigma of a Gaussian likelihood, against its closed form."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import families, keys, parallel
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.likelihoods import DiagonalGaussian

SPEC = DataSpec("real", (3, 2))
SIZE, DIMS = 8, 6


def build(**changes):
    model = families.default_model("vae")
    model.update(hidden=(5,), latent_dim=2, likelihood="gaussian", optimal_sigma=True)
    model.update(**changes)
    return families.build("vae", model, SPEC)


@pytest.fixture(scope="module")
def batch():
    x = np.random.default_rng(0).normal(size=(SIZE, 3, 2)) * 2 + 1
    return {"x": jnp.float32(x), "label": jnp.zeros(SIZE, jnp.int32)}


def init(family, batch):
    return jax.jit(family.init)(jax.random.key(0), batch)


def step(family, params, extra, batch, devices=1):
    """Loss, gradient, extra and metrics, averaged over devices as the training step does."""

    def own(batch, each):
        def loss(params):
            values, new, metrics = family.losses(("vae",), params, extra, batch, each, jnp.int32(0))
            return values["vae"], (new, metrics)

        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return parallel.mean((value, grads, *aux))

    each = keys.per_example(keys.stream(0, "test"), jnp.arange(SIZE))
    parts = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), (batch, each))
    results = jax.jit(jax.vmap(own, axis_name=parallel.AXIS))(*parts)
    return jax.tree.map(lambda x: x[0], results)


@functools.partial(jax.jit, static_argnums=(0, 3))
def by_hand(family, params, batch, draws):
    """D / 2 ln(2 pi e MSE) of `draws` of z for each example, and the closed-form rate."""
    mean, log_variance = family.encode(params, {}, batch)
    each = keys.named(keys.per_example(keys.stream(0, "test"), jnp.arange(SIZE)), "posterior")
    noise = keys.normal(each, (draws, 2)).swapaxes(0, 1)
    z = mean + jnp.exp(log_variance / 2) * noise
    decoded = [family.decode(params, {}, one, batch) for one in z]
    mse = jnp.square(jnp.stack(decoded) - batch["x"]).mean()
    distortion = DIMS / 2 * jnp.log(2 * math.pi * math.e * mse)
    return distortion + DiagonalGaussian(mean, log_variance).kl().sum(-1).mean(), (distortion, mse)


@pytest.mark.parametrize("devices", [1, 4])
def test_loss_and_gradient_are_those_of_the_log_of_the_mse(batch, devices):
    family = build()
    params, extra = init(family, batch)
    loss, grads, _, metrics = step(family, params, extra, batch, devices)
    oracle = jax.value_and_grad(lambda p: by_hand(family, p, batch, 1), has_aux=True)
    (expected, (distortion, _)), expected_grads = oracle(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["distortion"], distortion, rtol=1e-5)
    for found, right in zip(jax.tree.leaves(grads), jax.tree.leaves(expected_grads), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6)
        assert np.abs(right).max() > 1e-3


@pytest.mark.parametrize("estimator", ["analytic", "standard", "dreg"])
def test_all_draws_of_a_bound_count(batch, estimator):
    family = build(num_bounds=3, estimator=estimator)
    params, extra = init(family, batch)
    metrics = step(family, params, extra, batch)[3]
    distortion = by_hand(family, params, batch, 3)[1][0]
    np.testing.assert_allclose(metrics["distortion"], distortion, rtol=1e-5)


def test_plain_autoencoder(batch):
    family = build(autoencoder=True)
    params, extra = init(family, batch)
    loss, *_ = step(family, params, extra, batch)
    mean = family.decode(params, extra, family.encode(params, extra, batch).mean, batch)
    expected = DIMS / 2 * np.log(2 * np.pi * np.e * np.square(mean - batch["x"]).mean())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_moving_average_starts_at_the_variance_of_the_data(batch):
    family = build()
    params, extra = init(family, batch)
    np.testing.assert_allclose(extra["variance"], np.var(batch["x"]), rtol=1e-5)
    mse = by_hand(family, params, batch, 1)[1][1]
    for devices in (1, 4):
        _, _, new, _ = step(family, params, {"variance": jnp.float32(7.0)}, batch, devices)
        np.testing.assert_allclose(new["variance"], 0.99 * 7 + 0.01 * mse, rtol=1e-5)


def test_a_batch_that_is_fitted_exactly_has_a_finite_loss(batch):
    family = build(autoencoder=True)
    params, extra = init(family, batch)
    output = params["vae"]["decoder"]["output"]
    params["vae"]["decoder"]["output"] = jax.tree.map(jnp.zeros_like, output)
    loss, grads, *_ = step(family, params, extra, batch | {"x": 0 * batch["x"]})
    np.testing.assert_allclose(loss, DIMS / 2 * np.log(2 * np.pi * 1e-6), rtol=1e-5)
    assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(grads))


def test_evaluation_reads_the_moving_average(batch):
    family = build()
    params, _ = init(family, batch)
    each = keys.per_example(keys.stream(1, "test"), jnp.arange(SIZE))
    extra = {"variance": jnp.float32(0.3)}
    z = jnp.float32(np.random.default_rng(1).normal(size=(4, SIZE, 2)))
    decoded = np.asarray(jax.jit(jax.vmap(lambda z: family.decode(params, extra, z, {})))(z))
    expected = stats.norm(decoded, 0.3**0.5).logpdf(batch["x"]).sum((2, 3))
    found = jax.jit(family.log_likelihood)(params, extra, batch, z)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # The same draws of z under two variances differ as their densities do.
    weights = jax.jit(lambda v: family.log_weights(params, {"variance": v}, batch, each, 5))
    one, two = weights(0.3), weights(0.6)
    squares = -0.3 * 2 * (one.log_likelihood + DIMS / 2 * np.log(2 * np.pi * 0.3))
    expected = -squares / 1.2 - DIMS / 2 * np.log(2 * np.pi * 0.6)
    np.testing.assert_allclose(two.log_likelihood, expected, rtol=1e-4)
    np.testing.assert_array_equal(one.log_ratios, two.log_ratios)
    many = {"x": jnp.zeros((4_000, 3, 2)), "label": jnp.zeros(4_000, jnp.int32)}
    each = keys.per_example(keys.stream(2, "test"), jnp.arange(4_000))
    x, z = jax.jit(family.simulate)(params, extra, many, each)
    noise = np.asarray(x - jax.jit(family.decode)(params, extra, z, {}))
    assert noise.std() == pytest.approx(0.3**0.5, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.3}, "use --config.model.sigma=0"),
        ({"likelihood": "continuous_bernoulli"}, "use --config.model.likelihood=gaussian"),
        ({"importance_samples": 5}, "use --config.model.importance_samples=1"),
    ],
)
def test_what_it_does_not_go_with_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(**changes)
