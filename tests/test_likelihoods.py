"""Likelihoods against scipy and numpy by hand, and against themselves: they sum to one."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from gen_jax import keys as keys_lib
from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError

SHAPE = (3, 2, 2)
ALL = [
    likelihoods.Bernoulli(SHAPE),
    likelihoods.Categorical(SHAPE, 5),
    likelihoods.DiscretizedLogistic(SHAPE, 17),
    likelihoods.DiscretizedLogisticMixture(SHAPE, 17, 3),
    likelihoods.ContinuousBernoulli(SHAPE),
    likelihoods.Gaussian(SHAPE),
    likelihoods.Gaussian(SHAPE, 0.3),
]
everyone = pytest.mark.parametrize("likelihood", ALL, ids=str)


def _params(likelihood, lead=(), scale=1.0, seed=0):
    shape = (*lead, *likelihood.shape, likelihood.num_params)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale, jnp.float32)


def _keys(num, seed=0):
    return keys_lib.per_example(jax.random.key(seed), jnp.arange(num))


def _data(likelihood, num, seed=1):
    rng = np.random.default_rng(seed)
    if isinstance(likelihood, likelihoods.Gaussian):
        return rng.normal(size=(num, *likelihood.shape)).astype(np.float32)
    if isinstance(likelihood, likelihoods.ContinuousBernoulli):
        return rng.random((num, *likelihood.shape)).astype(np.float32)
    levels = getattr(likelihood, "levels", 2)
    return rng.integers(0, levels, (num, *likelihood.shape)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _log_prob(likelihood, params, x):
    return likelihood.log_prob(params, x)


@functools.partial(jax.jit, static_argnums=0)
def _sample(likelihood, params, keys, temperature=1.0):
    return likelihood.sample(params, keys, temperature)


def _logistic_probs(levels, mean, log_scale):
    """Probabilities of all levels in float64, each from the tail where it does not cancel."""
    width = 2 / (levels - 1)
    scale = math.exp(max(log_scale, math.log(width / 8)))
    edges = np.concatenate([[-np.inf], -1 + width * (np.arange(levels - 1) + 0.5), [np.inf]])
    z = (edges - mean) / scale
    right = special.expit(-z[:-1]) - special.expit(-z[1:])
    return np.where(z[:-1] > 0, right, special.expit(z[1:]) - special.expit(z[:-1]))


@everyone
def test_reads_any_leading_axes_as_float32(likelihood):
    params = _params(likelihood, (4, 3))
    x = _data(likelihood, 3)
    log_prob = _log_prob(likelihood, params, x)
    assert log_prob.shape == (4, 3) and log_prob.dtype == jnp.float32
    one = _log_prob(likelihood, params[2, 1], x[1])
    np.testing.assert_allclose(log_prob[2, 1], one, rtol=1e-5)
    half = params.astype(jnp.bfloat16)
    wide = half.astype(jnp.float32)
    np.testing.assert_allclose(
        _log_prob(likelihood, half, x), _log_prob(likelihood, wide, x), rtol=1e-6
    )
    mean = jax.eval_shape(likelihood.mean, half)
    assert mean.shape == (4, 3, *SHAPE) and mean.dtype == jnp.float32
    draws = jax.eval_shape(likelihood.sample, half[0], _keys(3))
    assert draws.shape == (3, *SHAPE) and draws.dtype == jnp.float32


@everyone
def test_a_draw_depends_on_its_own_key_alone(likelihood):
    params, keys = _params(likelihood, (6,)), _keys(6)
    draws = _sample(likelihood, params, keys)
    np.testing.assert_array_equal(draws[2:5], _sample(likelihood, params[2:5], keys[2:5]))
    assert not np.array_equal(draws, _sample(likelihood, params, _keys(6, seed=1)))


@everyone
def test_draws_have_the_mean_and_sharpen(likelihood):
    num = 4000
    params = jnp.abs(_params(likelihood))  # scales above an eighth of a bin
    many = jnp.broadcast_to(params, (num, *params.shape))
    for temperature in (1.0, 0.5):
        draws = _sample(likelihood, many, _keys(num), temperature)
        sharp = params
        if isinstance(
            likelihood,
            likelihoods.Bernoulli | likelihoods.Categorical | likelihoods.ContinuousBernoulli,
        ):
            sharp = params / temperature
        elif isinstance(likelihood, likelihoods.DiscretizedLogisticMixture):
            logits, mean, log_scale = jnp.split(params, 3, -1)
            log_scale += math.log(temperature)
            sharp = jnp.concatenate([logits / temperature, mean, log_scale], -1)
        elif likelihood.num_params == 2:
            power = 2 if isinstance(likelihood, likelihoods.Gaussian) else 1
            sharp = params.at[..., 1].add(power * math.log(temperature))
        stderr = np.std(draws, axis=0) / math.sqrt(num)
        error = np.mean(draws, axis=0) - np.asarray(likelihood.mean(sharp))
        assert np.all(np.abs(error) < 4.5 * stderr + 1e-3), (error, stderr)


@everyone
def test_temperature_zero_is_the_mode(likelihood):
    params = _params(likelihood, (6,))
    mode = _sample(likelihood, params, _keys(6), 0.0)
    if isinstance(likelihood, likelihoods.DiscretizedLogistic):
        # Of the underlying variable: an edge bin, being wider, may outweigh the central one.
        inside = np.clip((np.asarray(params[..., 0]) + 1) / 2, 0, 1) * (likelihood.levels - 1)
        np.testing.assert_array_equal(mode, np.round(inside))
        return
    if isinstance(likelihood, likelihoods.DiscretizedLogisticMixture):
        logits, mean, _ = np.split(np.asarray(params), 3, -1)
        mean = np.take_along_axis(mean, logits.argmax(-1)[..., None], -1)[..., 0]
        np.testing.assert_array_equal(mode, np.round(np.clip((mean + 1) / 2, 0, 1) * 16))
        return
    best = _log_prob(likelihood, params, mode)
    for seed in range(5):
        assert np.all(best >= _log_prob(likelihood, params, _data(likelihood, 6, seed)))


@everyone
def test_gradients_are_finite_and_log_probs_at_most_zero_at_extremes(likelihood):
    x = _data(likelihood, 5)
    gradients = jax.jit(jax.value_and_grad(lambda p: likelihood.log_prob(p, x).sum()))
    for scale in (0.0, 30.0):
        value, gradient = gradients(_params(likelihood, (5,), scale))
        assert np.isfinite(value) and np.all(np.isfinite(gradient))
        if not isinstance(likelihood, likelihoods.Gaussian | likelihoods.ContinuousBernoulli):
            assert value <= 0


def test_bernoulli():
    likelihood = likelihoods.Bernoulli((4,))
    logits = np.array([-200.0, -3.0, 0.0, 60.0])
    x = np.array([0.0, 1.0, 1.0, 0.0])
    expected = np.sum(x * logits - np.logaddexp(0, logits))
    np.testing.assert_allclose(likelihood.log_prob(logits[:, None], x), expected, rtol=1e-6)
    one = stats.bernoulli(special.expit(logits[1:3])).logpmf(x[1:3]).sum()
    pair = likelihoods.Bernoulli((2,)).log_prob(jnp.asarray(logits[1:3, None]), x[1:3])
    np.testing.assert_allclose(pair, one, rtol=1e-6)
    for logit in (-50.0, -2.0, 0.0, 7.0):
        both = likelihoods.Bernoulli((1,)).log_prob(jnp.full((2, 1, 1), logit), jnp.eye(2)[:, :1])
        np.testing.assert_allclose(np.exp(np.float64(both)).sum(), 1, rtol=1e-6)


def test_softplus_has_exact_derivatives():
    x = jnp.asarray([-100.0, -20.0, -1.0, 0.0, 2.0, 30.0, 1e4])
    np.testing.assert_allclose(
        likelihoods.softplus(x), np.logaddexp(0, np.float64(x)), rtol=1e-6, atol=1e-37
    )
    first, second = jax.grad(likelihoods.softplus), jax.grad(jax.grad(likelihoods.softplus))
    p = special.expit(np.float64(x))
    np.testing.assert_allclose(jax.vmap(first)(x), p, rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(jax.vmap(second)(x), p * (1 - p), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 80.0])
def test_categorical(scale):
    levels = 17
    likelihood = likelihoods.Categorical((1,), levels)
    logits = _params(likelihood, scale=scale)
    values = jnp.arange(levels, dtype=jnp.float32)[:, None]
    log_probs = np.float64(likelihood.log_prob(logits, values))
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1, rtol=1e-5)
    expected = special.log_softmax(np.float64(logits[0]))
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        likelihood.mean(logits)[0], np.exp(expected) @ np.arange(levels), rtol=1e-5
    )
    own = jax.grad(lambda p: likelihood.log_prob(p, values[3]))(logits)[0]
    np.testing.assert_allclose(own, np.eye(levels)[3] - np.exp(expected), atol=1e-5)


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
def test_discretized_logistic(levels):
    likelihood = likelihoods.DiscretizedLogistic((1,), levels)
    mean_of = jax.jit(likelihood.mean)
    values = jnp.arange(levels, dtype=jnp.float32)[:, None]
    for mean in (-30.0, -1.0, 0.123, 1.5):
        for log_scale in (-100.0, -7.0, -2.0, 0.5, 6.0):
            params = jnp.asarray([[mean, log_scale]])
            log_probs = np.float64(_log_prob(likelihood, params, values))
            probs = _logistic_probs(levels, *np.float64(params[0]))
            np.testing.assert_allclose(np.exp(log_probs).sum(), 1, rtol=2e-4)
            np.testing.assert_allclose(np.exp(log_probs), probs, rtol=2e-2, atol=1e-5)
            if levels <= 256:
                seen = probs > 1e-250
                np.testing.assert_allclose(
                    log_probs[seen], np.log(probs[seen]), rtol=1e-3, atol=1e-3
                )
                expected = probs @ np.arange(levels)
                np.testing.assert_allclose(mean_of(params)[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("levels", [17, 256])
def test_discretized_logistic_mixture(levels):
    likelihood = likelihoods.DiscretizedLogisticMixture((1,), levels, 3)
    logits, mean, log_scale = np.array([[0.5, -1.0, 0.2], [-0.8, 0.1, 2.0], [-3.0, -1.0, 0.3]])
    params = jnp.float32(np.concatenate([logits, mean, log_scale]))[None]
    values = jnp.arange(levels, dtype=jnp.float32)[:, None]
    parts = [_logistic_probs(levels, m, s) for m, s in zip(mean, log_scale, strict=True)]
    expected = special.softmax(logits) @ np.array(parts)
    found = np.exp(np.float64(_log_prob(likelihood, params, values)))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-4)
    np.testing.assert_allclose(likelihood.mean(params)[0], expected @ np.arange(levels), rtol=1e-3)
    one = likelihoods.DiscretizedLogisticMixture((1,), levels, 1)
    plain = likelihoods.DiscretizedLogistic((1,), levels)
    np.testing.assert_allclose(
        one.log_prob(jnp.array([[7.0, 0.3, -2.0]]), values),
        plain.log_prob(jnp.array([[0.3, -2.0]]), values),
        rtol=1e-5,
    )


@pytest.mark.parametrize("rate", [-30.0, -2.0, -0.011, -1e-3, 0.0, 9e-3, 0.5, 4.0, 80.0])
def test_continuous_bernoulli(rate):
    likelihood = likelihoods.ContinuousBernoulli((1,))
    x = np.linspace(0, 1, 4001)
    params = jnp.array([[rate]])
    density = np.exp(np.float64(_log_prob(likelihood, params, jnp.float32(x)[:, None])))
    np.testing.assert_allclose(integrate.simpson(density, x=x), 1, rtol=1e-4)
    mean = integrate.simpson(density * x, x=x)
    np.testing.assert_allclose(likelihood.mean(params)[0], mean, rtol=1e-4)
    draws = np.asarray(_sample(likelihood, jnp.full((20_000, 1, 1), rate), _keys(20_000)))
    assert draws.min() >= 0 and draws.max() <= 1
    for quantile in (0.1, 0.5, 0.9):
        below = integrate.simpson(np.where(x <= np.quantile(draws, quantile), density, 0), x=x)
        assert below == pytest.approx(quantile, abs=0.02)


def test_gaussian():
    rng = np.random.default_rng(0)
    x, mean, log_variance = rng.normal(size=(3, 7))
    expected = stats.norm(mean, np.exp(log_variance / 2)).logpdf(x).sum()
    params = jnp.stack([jnp.asarray(mean), jnp.asarray(log_variance)], -1)
    learned, fixed = likelihoods.Gaussian((7,)), likelihoods.Gaussian((7,), 0.2)
    np.testing.assert_allclose(learned.log_prob(params, x), expected, rtol=1e-5)
    np.testing.assert_allclose(
        likelihoods.gaussian_log_prob(x, mean, log_variance), expected, rtol=1e-5
    )
    expected = stats.norm(mean, 0.2).logpdf(x).sum()
    np.testing.assert_allclose(fixed.log_prob(params[:, :1], x), expected, rtol=1e-5)
    one = likelihoods.Gaussian((1,), 0.2)
    grid = np.linspace(-2, 4, 2001)
    density = np.exp(np.float64(one.log_prob(jnp.ones((1, 1)), grid[:, None])))
    np.testing.assert_allclose(integrate.simpson(density, x=grid), 1, rtol=1e-5)
    draws = _sample(one, jnp.ones((5000, 1, 1)), _keys(5000))
    np.testing.assert_allclose(np.std(draws), 0.2, rtol=0.04)


def test_gaussian_kl():
    mean, log_variance = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    kl = likelihoods.DiagonalGaussian(mean, log_variance).kl().sum(-1)
    variance = np.exp(np.float64(log_variance))
    by_hand = 0.5 * (variance.sum() + mean @ mean - 4 - np.log(variance).sum())
    np.testing.assert_allclose(kl, by_hand, rtol=1e-5)
    z = mean + np.sqrt(variance) * np.random.default_rng(2).normal(size=(100_000, 4))
    ratio = stats.norm(mean, np.sqrt(variance)).logpdf(z) - stats.norm().logpdf(z)
    ratio = ratio.sum(-1)
    assert abs(kl - ratio.mean()) < 4 * ratio.std() / math.sqrt(len(ratio))
    nothing = likelihoods.DiagonalGaussian(np.zeros((2, 3)), np.zeros((2, 3))).kl()
    assert (nothing == 0).all() and nothing.shape == (2, 3)


def test_make():
    binary = DataSpec("binary", (8, 8, 1), levels=17)
    data = DataSpec("bytes", (8, 8, 1), levels=17)
    real = DataSpec("real", (2,))
    assert likelihoods.make("bernoulli", binary) == likelihoods.Bernoulli((8, 8, 1))
    assert likelihoods.make("categorical", data).num_params == 17
    logistic = likelihoods.make("discretized_logistic", data)
    assert logistic == likelihoods.DiscretizedLogistic((8, 8, 1), 17)
    assert likelihoods.make("gaussian", real).num_params == 2
    assert likelihoods.make("gaussian", real, sigma=0.1).num_params == 1
    assert likelihoods.make("discretized_logistic_mixture", data, components=4).num_params == 12
    dequantized = DataSpec("real", (8, 8, 1), levels=17)
    continuous = likelihoods.make("continuous_bernoulli", dequantized)
    assert continuous == likelihoods.ContinuousBernoulli((8, 8, 1))


@pytest.mark.parametrize(
    ("name", "kind", "options", "message"),
    [
        ("gaussian", "bytes", {}, "categorical, discretized_logistic"),
        ("bernouli", "binary", {}, "bernoulli"),
        ("categorical", "real", {}, "gaussian"),
        ("gaussian", "real", {"sigma": 0.0}, "above 0"),
        ("discretized_logistic_mixture", "bytes", {"sigma": 1.0}, "components, not 'sigma'"),
        ("gaussian", "real", {"sgma": 1.0}, "sigma"),
        ("bernoulli", "binary", {"sigma": 1.0}, "no options"),
    ],
)
def test_make_refuses(name, kind, options, message):
    with pytest.raises(UserError, match=message):
        likelihoods.make(name, DataSpec(kind, (4,), levels=17), **options)


@pytest.mark.parametrize("rate", [-0.5, -0.29, -0.012, 1e-4, 0.012, 0.1, 0.31, 3.0])
def test_the_gradient_of_a_continuous_bernoulli(rate):
    """d ln p / d r = x - E[x], of which E[x] is known."""
    likelihood = likelihoods.ContinuousBernoulli((1,))
    x = 0.25
    run = jax.grad(lambda r: likelihood.log_prob(r.reshape(1, 1, 1), jnp.full((1, 1), x))[0])
    r = np.float64(np.float32(rate))
    mean = 1 + 1 / np.expm1(r) - 1 / r if abs(r) > 1e-3 else 0.5 + r / 12
    assert run(jnp.float32(rate)) == pytest.approx(x - mean, abs=1e-6)
    assert likelihood.mean(jnp.full((1, 1), rate))[0] == pytest.approx(mean, abs=1e-6)
