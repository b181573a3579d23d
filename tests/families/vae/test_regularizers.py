"""Regularisers against values that are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from gen_jax import families, keys, parallel
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.vae.regularizers import (
    DECODER_PENALTIES,
    REGULARIZERS,
    Settings,
    estimated_total_correlation,
)
from gen_jax.likelihoods import DiagonalGaussian

RNG = np.random.default_rng(0)


def on_devices(function, *inputs, devices=1):
    """Within the axis over devices, each with its part of the batch -> the first one's result."""
    parts = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), inputs)
    return jax.vmap(function, axis_name=parallel.AXIS)(*parts)


def evaluate(name, mean, log_variance, z, target=0.0, beta=1.0, devices=1):
    def run(mean, log_variance, z):
        each = DiagonalGaussian(mean, log_variance).kl()
        return REGULARIZERS[name](each, mean, log_variance, z, Settings(target, beta))

    inputs = (jnp.float32(a) for a in (mean, log_variance, z))
    return np.asarray(on_devices(run, *inputs, devices=devices)).mean()


MEAN, LOG_VARIANCE, Z = RNG.normal(size=(3, 8, 4))
KL = 0.5 * (MEAN**2 + np.exp(LOG_VARIANCE) - 1 - LOG_VARIANCE)


def test_kl_capacity_and_free_bits_by_hand():
    given = (MEAN, LOG_VARIANCE, Z)
    assert evaluate("kl", *given) == pytest.approx(KL.sum(1).mean(), rel=1e-5)
    rate = KL.sum(1).mean()
    assert evaluate("capacity", *given, 2.0) == pytest.approx(abs(rate - 2.0), rel=1e-4)
    assert evaluate("capacity", *given, 9.0) == pytest.approx(abs(rate - 9.0), rel=1e-4)
    target = float(np.median(KL.mean(0)))
    expected = np.maximum(KL.mean(0), target).sum()
    assert evaluate("free_bits", *given, target) == pytest.approx(expected, rel=1e-5)


def test_total_correlation_of_a_known_gaussian():
    """Means on a correlated Gaussian: q(z) is Gaussian, and so is its total correlation known."""
    num, correlation, sd = 3_000, 0.8, 0.3
    cov = np.array([[1.0, correlation], [correlation, 1.0]])
    mean = RNG.multivariate_normal(np.zeros(2), cov, num)
    z = mean + sd * RNG.normal(size=mean.shape)
    whole = cov + sd**2 * np.eye(2)
    expected = -0.5 * np.log(np.linalg.det(whole) / np.prod(np.diag(whole)))
    log_variance = np.full_like(mean, 2 * np.log(sd))
    inputs = (jnp.float32(a) for a in (mean, log_variance, z))
    found = on_devices(estimated_total_correlation, *inputs)[0]
    assert found == pytest.approx(expected, abs=0.05)
    independent = np.stack([mean[:, 0], RNG.permutation(mean[:, 1])], 1)
    inputs = (jnp.float32(a) for a in (independent, log_variance, independent + z - mean))
    assert on_devices(estimated_total_correlation, *inputs)[0] == pytest.approx(0, abs=0.05)


def test_beta_weighs_the_total_correlation_alone():
    """Chen et al.: mutual information + beta TC + dimension-wise KL, in float64 by scipy."""
    # [i, j, l]: ln q(z_i | x_j) in dimension l.
    log_q = stats.norm.logpdf(Z[:, None], MEAN, np.exp(LOG_VARIANCE / 2))
    own = log_q.sum(-1).diagonal()
    joint = special.logsumexp(log_q.sum(-1), axis=1) - np.log(8)
    marginals = special.logsumexp(log_q, axis=1) - np.log(8)
    information, tc = (own - joint).mean(), (joint - marginals.sum(-1)).mean()
    dimensions = (marginals - stats.norm.logpdf(Z)).sum(-1).mean()
    # The KL is in closed form, of which the first three are an estimate by these z.
    noise = KL.sum(1).mean() - (information + tc + dimensions)
    for beta in (0.0, 1.0, 6.0):
        found = evaluate("total_correlation", MEAN, LOG_VARIANCE, Z, beta=beta)
        expected = information + beta * tc + dimensions + noise
        assert found == pytest.approx(expected, rel=1e-4), beta


@pytest.mark.parametrize("name", sorted(set(REGULARIZERS) - {"total_correlation"}))
def test_beta_weighs_all_of_the_others(name):
    one, three = (
        evaluate(name, MEAN, LOG_VARIANCE, Z, target=0.4, beta=beta) for beta in (1.0, 3.0)
    )
    assert three == pytest.approx(3 * one, rel=1e-5) and one != 0


def test_a_batch_of_one_has_no_discrepancy():
    with pytest.raises(UserError, match=r"larger --config\.batch_size or a smaller"):
        evaluate("mmd", MEAN[:1], LOG_VARIANCE[:1], Z[:1])


def test_mmd_of_the_prior_is_zero_and_of_a_shifted_gaussian_is_known():
    num, dims, shift = 4_000, 2, 1.5
    z = RNG.normal(size=(num, dims))
    assert evaluate("mmd", z, z, z) == pytest.approx(0, abs=2e-3)
    # E k(x, y) of Gaussians with difference N(m, 2 I) is (v / (v + 2))^(L / 2) e^(-m^2 / 2(v + 2)).
    variance = 2 * dims
    same = (variance / (variance + 2)) ** (dims / 2)
    across = same * np.exp(-dims * shift**2 / (2 * (variance + 2)))
    expected = 2 * same - 2 * across
    assert evaluate("mmd", z, z, z + shift) == pytest.approx(expected, abs=0.01)


def test_mmd_by_draws_of_the_prior():
    z, prior = RNG.normal(size=(60, 3)) * 0.5 + 0.3, RNG.normal(size=(20_000, 3))
    kernel = lambda a, b: np.exp(-((a[:, None] - b) ** 2).sum(-1) / 12)  # noqa: E731
    own = kernel(z, z)
    within = (own.sum() - 60) / (60 * 59)
    of_prior = kernel(prior[:4_000], prior[4_000:8_000]).mean()
    expected = within - 2 * kernel(z, prior).mean() + of_prior
    assert evaluate("mmd", z, z, z) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_the_number_of_devices_does_not_matter(name):
    one = evaluate(name, MEAN, LOG_VARIANCE, Z, target=0.4, beta=3.0)
    four = evaluate(name, MEAN, LOG_VARIANCE, Z, target=0.4, beta=3.0, devices=4)
    assert four == pytest.approx(one, rel=1e-5)


def test_it_is_in_the_loss():
    spec = DataSpec("binary", (4, 4, 1), levels=2)
    model = families.default_model("vae")
    model.update(hidden=(8,), latent_dim=2, beta=5.0)
    x = jnp.float32(RNG.integers(0, 2, (6, 4, 4, 1)))
    batch = {"x": x, "label": jnp.zeros(6, jnp.int32)}
    each = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), jnp.arange(6))
    found = {}
    names = [name for name in REGULARIZERS if name != "l2"]  # that is of a plain autoencoder
    for name in names:
        target = 0.7 if name in ("capacity", "free_bits") else 0.0
        model.update(regularizer=name, target=target)
        family = families.build("vae", model, spec)
        params, extra = family.init(jax.random.key(0), batch)

        def run(batch, each, family=family, params=params, extra=extra):
            values, _, metrics = family.losses(("vae",), params, extra, batch, each, 0)
            return values["vae"], metrics

        value, metrics = on_devices(run, batch, each)
        found[name] = float(value[0] - metrics["distortion"][0])
    assert found["kl"] == pytest.approx(5 * float(metrics["rate"][0]), rel=1e-4)
    assert found["capacity"] == pytest.approx(5 * abs(float(metrics["rate"][0]) - 0.7), rel=1e-4)
    assert len({round(value, 5) for value in found.values()}) == len(names)
    mean, log_variance = family.encode(params, extra, batch)
    z = mean + jnp.exp(log_variance / 2) * keys.normal(keys.named(each, "posterior"), (1, 2))[:, 0]
    tc = float(on_devices(estimated_total_correlation, mean, log_variance, z)[0])
    expected = float(metrics["rate"][0]) + 4 * tc
    assert found["total_correlation"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["total_correlation", "mmd"])
def test_it_is_warmed_up_and_is_of_all_draws(name):
    spec = DataSpec("binary", (4, 4, 1), levels=2)
    model = families.default_model("vae")
    model.update(hidden=(8,), latent_dim=2, beta=5.0, regularizer=name, num_bounds=3)
    model.update(beta_warmup_steps=4)
    family = families.build("vae", model, spec)
    x = jnp.float32(RNG.integers(0, 2, (6, 4, 4, 1)))
    batch = {"x": x, "label": jnp.zeros(6, jnp.int32)}
    each = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), jnp.arange(6))
    params, extra = family.init(jax.random.key(0), batch)
    mean, log_variance = family.encode(params, extra, batch)
    noise = keys.normal(keys.named(each, "posterior"), (3, 2))
    values = [
        evaluate(name, mean, log_variance, mean + jnp.exp(log_variance / 2) * noise[:, m], beta=5.0)
        for m in range(3)
    ]
    for step, part in ((0, 0.25), (9, 1.0)):
        run = lambda b, k, s=step: family.losses(("vae",), params, extra, b, k, s)  # noqa: E731
        losses, _, metrics = on_devices(run, batch, each)
        found = float(losses["vae"][0] - metrics["distortion"][0])
        assert found == pytest.approx(part * np.mean(values), rel=2e-3)


def test_the_penalties_of_a_decoder_by_hand():
    decoder = {"a": jnp.float32(RNG.normal(size=(2, 3))), "b": jnp.float32([1, 2, 3])}
    found = DECODER_PENALTIES["weights"](decoder, None, None, None)
    assert found == pytest.approx(np.square(decoder["a"]).sum() + 14, rel=1e-5)
    z = jnp.float32(RNG.normal(size=(4, 2)))

    def decode(z):
        return jnp.sin(z @ decoder["a"])[..., None]

    jacobians = np.cos(z @ decoder["a"])[:, None] * np.asarray(decoder["a"])
    expected = np.square(jacobians).sum((1, 2)).mean()
    streams = jax.random.split(jax.random.key(0), (20_000, 4))
    draws = jax.vmap(lambda keys: DECODER_PENALTIES["gradient"](decoder, decode, z, keys))(streams)
    assert abs(draws.mean() - expected) < 4 * draws.std() / len(draws) ** 0.5


def test_a_regularised_autoencoders_loss():
    """Distortion + beta |z|^2 / 2 + lambda |theta|^2, with z the mean: there is no noise."""
    spec = DataSpec("binary", (4, 4, 1), levels=2)
    model = families.default_model("vae")
    model.update(hidden=(8,), latent_dim=2, autoencoder=True, beta=0.3, regularizer="l2")
    model.update(decoder_penalty="weights", decoder_penalty_weight=0.01)
    family = families.build("vae", model, spec)
    x = jnp.float32(RNG.integers(0, 2, (6, 4, 4, 1)))
    batch = {"x": x, "label": jnp.zeros(6, jnp.int32)}
    params, extra = family.init(jax.random.key(0), batch)
    run = lambda b: family.losses(("vae",), params, extra, b, None, 0)  # noqa: E731
    losses, _, metrics = on_devices(run, batch)
    z = np.asarray(family.encode(params, extra, batch).mean)
    decoder = sum(np.square(leaf).sum() for leaf in jax.tree.leaves(params["vae"]["decoder"]))
    expected = 0.3 * np.square(z).sum(1).mean() / 2 + 0.01 * decoder
    found = float(losses["vae"][0] - metrics["distortion"][0])
    assert found == pytest.approx(expected, rel=1e-4)
    assert not np.isfinite(family.encode(params, extra, batch).log_variance).any()


def test_the_gradient_penalty_is_of_the_decoded_image():
    spec = DataSpec("binary", (2, 2, 1), levels=2)
    model = families.default_model("vae")
    model.update(hidden=(8,), latent_dim=2, autoencoder=True, decoder_penalty="gradient")
    model.update(decoder_penalty_weight=1.0)
    family = families.build("vae", model, spec)
    batch = {"x": jnp.float32(RNG.integers(0, 2, (6, 2, 2, 1))), "label": jnp.zeros(6, jnp.int32)}
    params, extra = family.init(jax.random.key(0), batch)
    z = family.encode(params, extra, batch).mean
    jacobian = jax.vmap(jax.jacfwd(lambda z: family.decode(params, extra, z[None], {})[0]))(z)
    expected = np.square(jacobian).sum((1, 2, 3, 4)).mean()

    def run(each):
        losses, _, metrics = on_devices(
            lambda b, k: family.losses(("vae",), params, extra, b, k, 0), batch, each
        )
        return losses["vae"][0] - metrics["distortion"][0]

    draws = np.asarray(jax.lax.map(run, jax.random.split(jax.random.key(1), (2_000, 6))))
    assert abs(draws.mean() - expected) < 4 * draws.std() / len(draws) ** 0.5


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"autoencoder": True, "regularizer": "free_bits"}, "regularizer=l2 or mmd"),
        ({"decoder_penalty": "gradient"}, "autoencoder=True"),
        ({"autoencoder": True, "num_bounds": 5}, "num_bounds=1"),
        ({"autoencoder": True, "importance_samples": 5}, "importance_samples=1"),
        ({"autoencoder": True, "estimator": "dreg"}, "estimator=auto"),
        ({"autoencoder": True, "beta_warmup_steps": 9}, "beta_warmup_steps=0"),
        ({"autoencoder": True, "beta": 4.0}, "no KL to weigh"),
        ({"target": 5.0}, "is of capacity and free_bits"),
        ({"regularizer": "free_bits"}, r"target=25.* as 0\.1"),
        ({"regularizer": "capacity"}, "target=25"),
        ({"regularizer": "total_correlation"}, "beta=6"),
        ({"regularizer": "l2"}, "autoencoder=True"),
        ({"flow_steps": 2, "flow_hidden": ()}, "flow_hidden="),
        ({"network": "conv", "hidden": ()}, "hidden="),
        ({"sigma": 0.3}, "likelihood=gaussian"),
        ({"prior": "vamp", "flow_steps": 2}, "flow_steps=0"),
    ],
    ids=str,
)
def test_what_would_have_no_effect_is_refused(changes, word):
    model = families.default_model("vae")
    model.update(changes)
    with pytest.raises(UserError, match=word):
        families.build("vae", model, DataSpec("binary", (4, 4, 1), levels=2))


def test_they_need_the_closed_form():
    model = families.default_model("vae")
    model.update(regularizer="mmd", prior="mixture")
    with pytest.raises(UserError, match="needs the closed-form KL"):
        families.build("vae", model, DataSpec("binary", (4, 4, 1), levels=2))
