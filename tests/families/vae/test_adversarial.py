"""FactorVAE and VAE-GAN: who is moved by what, and figures that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_priors import EACH, batch
from test_priors import build as build_vae
from test_regularizers import on_devices

from gen_jax import keys, likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.vae.adversarial import permute_dims

RNG = np.random.default_rng(0)


def build(adversary, **changes):
    return build_vae(**{"adversary": adversary, "adversary_hidden": (8,)} | changes)


def gradients(family, params, given, network):
    """The gradient of one network's loss in all parameters."""

    def loss(params):
        losses = lambda b, k: family.losses(family.turns[0], params, {}, b, k, jnp.int32(0))[0]  # noqa: E731
        return on_devices(losses, given, EACH)[network][0]

    return jax.grad(loss)(params)


@pytest.fixture(scope="module", params=["factor", "image"])
def model(request):
    family, given = build(request.param, adversary_weight=3.0), batch()
    params, _ = family.init(jax.random.key(0), given)
    return family, params, given


def test_dimensions_are_permuted_over_the_global_batch():
    z = jnp.float32(RNG.normal(size=(8, 3)))
    each = keys.per_example(keys.stream(0, "x"), jnp.arange(8))
    one = np.asarray(on_devices(permute_dims, z, each)).reshape(8, 3)
    two = np.asarray(on_devices(permute_dims, z, each, devices=2)).reshape(8, 3)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(np.sort(one, 0), np.sort(z, 0))
    assert len({tuple(np.argsort(np.argsort(column))) for column in (one - z).T}) == 3
    assert not any(np.array_equal(one[:, d], z[:, d]) for d in range(3))


def test_the_density_ratio_finds_the_total_correlation():
    """Of correlated Gaussians, once the discriminator of a FactorVAE is trained on them."""
    family = build("factor", adversary_hidden=(32, 32), activation="gelu")
    params, _ = family.init(jax.random.key(0), batch())
    rho, size = 0.8, 512
    optimizer = optax.adam(3e-3)

    def step(carry, key):
        params, state = carry
        noise = jax.random.normal(key, (size, 2))
        z = jnp.stack([noise[:, 0], rho * noise[:, 0] + (1 - rho**2) ** 0.5 * noise[:, 1]], 1)

        def loss(p):
            each = keys.per_example(key, jnp.arange(size))
            permuted = on_devices(permute_dims, z, each)[0]
            _, joint = family._judge({"discriminator": p}, z)
            _, apart = family._judge({"discriminator": p}, permuted)
            value = jax.nn.softplus(-joint).mean() + jax.nn.softplus(apart).mean()
            return value, joint.mean()

        (_, found), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), found

    start = params["discriminator"], optimizer.init(params["discriminator"])
    _, found = jax.jit(
        lambda: jax.lax.scan(step, start, jax.random.split(jax.random.key(1), 600))
    )()
    assert found[-200:].mean() == pytest.approx(-0.5 * np.log(1 - rho**2), rel=0.1)


def test_factor_vae_adds_gamma_mean_logits():
    given = batch()
    weighted, plain = build("factor", adversary_weight=3.0), build("none")
    params, _ = weighted.init(jax.random.key(0), given)
    run = lambda family: on_devices(  # noqa: E731
        lambda b, k: family.losses(family.turns[0], params, {}, b, k, jnp.int32(0)), given, EACH
    )
    losses, _, metrics = run(weighted)
    bare = run(plain)[0]["vae"]
    correlation = metrics["total_correlation"]
    np.testing.assert_allclose(losses["vae"], bare + 3 * correlation, rtol=1e-5)
    z = weighted._posterior_samples(params, {}, given, keys.named(EACH, "posterior"), 1)[0][0]
    _, logits = weighted._judge(params, z)
    np.testing.assert_allclose(correlation[0], logits.mean(), rtol=1e-4)


def test_the_discriminator_learns_from_its_own_loss(model):
    family, params, given = model
    grads = gradients(family, params, given, "discriminator")["discriminator"]
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))
    assert set(params) == {"vae", "discriminator"} == set(family.turns[0])


def test_who_learns_what_in_a_vae_gan():
    """Encoder: rate + feature distortion. Decoder: gamma x that + the generator's loss."""
    given, gamma = batch(), 3.0
    family = build("image", adversary_weight=gamma)
    params, _ = family.init(jax.random.key(0), given)
    grads = gradients(family, params, given, "vae")["vae"]

    inner = keys.named(EACH, "posterior")

    def parts(vae):
        own = params | {"vae": vae}
        mean, log_variance = family.encode(own, {}, given)
        noise = keys.normal(inner, (1, 2))[:, 0]
        z = mean + jnp.exp(log_variance / 2) * noise
        decode = lambda z: family.spec.center(family.decode(own, {}, z, given))  # noqa: E731
        real = family.spec.center(given["x"])
        difference = family._judge(own, decode(z))[0] - family._judge(own, real)[0]
        each = keys.named(EACH, "prior")
        prior = family._apply("sample_prior", own, {}, each, given["label"], 1.0)
        generator = sum(
            jax.nn.softplus(-family._judge(own, decode(part))[1]).mean() for part in (z, prior)
        )
        rate = likelihoods.DiagonalGaussian(mean, log_variance).kl().sum(-1).mean()
        return rate, 0.5 * jnp.square(difference).sum(-1).mean(), generator

    rate, features, generator = jax.jacrev(parts)(params["vae"])
    for name, factor in (
        ("encoder", (1, 1, 0)),
        ("posterior", (1, 1, 0)),
        ("decoder", (0, gamma, 1)),
    ):
        expected = jax.tree.map(
            lambda *x, f=factor: sum(a * b for a, b in zip(f, x, strict=True)),
            rate[name],
            features[name],
            generator[name],
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
            grads[name],
            expected,
        )


def test_what_goes_with_an_adversary():
    for changes, word in (
        ({"adversary": "image", "prior": "mixture"}, "closed-form"),
        ({"adversary": "factor", "autoencoder": True}, "autoencoder=False"),
        ({"adversary": "strict"}, "factor, image"),
        ({"adversary": "image", "regularizer": "mmd"}, "regularizer=kl"),
        ({"adversary": "factor", "adversary_weight": 0.0}, "above 0"),
        ({"autoencoder": True, "flow_steps": 2}, "without a flow"),
        ({"adversary": "image", "num_bounds": 3}, "num_bounds=1"),
    ):
        with pytest.raises(UserError, match=word):
            build_vae(**changes)
    real = DataSpec("real", (4, 4, 1), levels=17)
    with pytest.raises(UserError, match=r"the mean of p\(x\|z\) alone.*sigma=0.1"):
        build_vae(real, adversary="image", likelihood="gaussian")
    assert build_vae(real, adversary="image", likelihood="gaussian", sigma=0.1)
