"""Inverse autoregressive posteriors, against autodiff and a density that is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_priors import EACH, batch, build

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    family, given = build(flow_steps=2, flow_hidden=(8,)), batch()
    params, extra = family.init(jax.random.key(0), given)
    noise = lambda x: x + 0.3 * jnp.float32(RNG.normal(size=x.shape))  # noqa: E731
    params["vae"]["flow"] = jax.tree.map(noise, params["vae"]["flow"])
    # A posterior wider than the prior, so that the weights have no heavy tail.
    posterior = params["vae"]["posterior"]
    posterior["kernel"] *= 0.1
    posterior["bias"] += jnp.array([0.0, 0.0, 0.7, 0.7])
    return family, params, extra, given


def test_the_density_of_a_draw_by_the_change_of_variables(model):
    """Of the weights' log q(z|x), by numpy from the Gaussian and autodiff of the whole map."""
    family, params, extra, given = model
    terms = family.log_weights(params, extra, given, EACH, 3)
    latents = family._posterior_samples(params, extra, given, EACH, 3)
    inputs = given["x"], given["label"]

    def transform(z):
        return family._apply("transform", params, extra, *inputs, [z])[0][0]

    z = transform(latents[0])
    mean, log_variance = family._apply("encode", params, extra, *inputs)
    squares = np.square(latents[0] - mean) * np.exp(-log_variance)
    log_q = -0.5 * (squares + log_variance + np.log(2 * np.pi)).sum(-1)
    whole = jax.jacfwd(transform)(latents[0])  # [3, 6, 2, 3, 6, 2]
    own = np.einsum("kbikbj->kbij", whole)
    log_q -= np.linalg.slogdet(own)[1]
    log_p = -0.5 * (np.square(z) + np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(terms.log_ratio, log_p - log_q, rtol=1e-4, atol=1e-4)
    decoded = family._log_likelihood(params, {}, z, given)
    np.testing.assert_allclose(terms.log_likelihood, decoded, rtol=1e-5)


def test_importance_weights_are_of_one_likelihood(model):
    """E[w] is p(x), which a large K finds, whether the posterior has a flow or not."""
    family, params, extra, given = model
    bare = build()
    rest = {"vae": {k: v for k, v in params["vae"].items() if k != "flow"}}
    found = []
    for each_family, each_params in ((family, params), (bare, rest)):
        log_w = each_family.log_weights(each_params, extra, given, EACH, 100_000).log_w
        found.append(jax.nn.logsumexp(log_w, 0) - np.log(100_000))
    np.testing.assert_allclose(found[0], found[1], atol=0.01)


def test_estimators_agree_in_the_mean(model):
    """DReG's gradient of the flow and the encoder is the bound's own in the mean."""
    family, params, extra, given = model

    def gradients(estimator):
        changed = dataclasses.replace(family, estimator=estimator, importance_samples=3)

        def one(key):
            each = jax.random.split(key, 6)
            loss = lambda p: changed.losses(("vae",), p, extra, given, each, 0)[0]["vae"]  # noqa: E731
            grads = jax.grad(loss)(params)["vae"]
            return jnp.concatenate(
                [g.reshape(-1) for g in jax.tree.leaves((grads["flow"], grads["posterior"]))]
            )

        return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 4_000)))

    standard, dreg = gradients("standard"), gradients("dreg")
    error = np.sqrt((standard.var(0) + dreg.var(0)) / 4_000) + 1e-7
    t = (standard.mean(0) - dreg.mean(0)) / error
    assert np.abs(t).max() < 5 and np.square(t).mean() < 1.5
    assert not np.allclose(standard[0], dreg[0])


def test_a_draw_of_the_posterior_has_been_through_the_flow():
    family, given = build(flow_steps=2, flow_hidden=(8,)), batch()
    params, extra = family.init(jax.random.key(0), given)
    params = jax.tree.map(lambda x: x + 0.5 * jnp.float32(RNG.normal(size=x.shape)), params)
    x, label = given["x"], given["label"]
    each = jax.random.split(jax.random.key(1), (4_000, len(x)))
    draw = jax.jit(jax.vmap(lambda k: family.sample_posterior(params, extra, given, k)))
    found = np.asarray(draw(each))
    mean, log_variance = family._apply("encode", params, extra, x, label)
    z = mean + np.exp(log_variance / 2) * RNG.normal(size=(4_000, *mean.shape))
    moved, _ = family._apply("transform", params, extra, x, label, [jnp.float32(z)])
    expected = np.asarray(moved[0])
    error = expected.std(0) / 4_000**0.5
    assert (np.abs(found.mean(0) - expected.mean(0)) < 6 * error).all()
    np.testing.assert_allclose(found.std(0), expected.std(0), rtol=0.1)
    # What the Gaussian alone would draw is elsewhere.
    assert (np.abs(z.std(0) - expected.std(0)) > 0.2 * z.std(0)).any()
