"""Layers from the top down, of one latent each, against sums on a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import families, keys
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Decoder

SPEC = DataSpec("binary", (2, 3, 1), levels=2, num_classes=3)
SIDE = np.linspace(-8, 8, 161)
CELL = (SIDE[1] - SIDE[0]) ** 2


def build(**changes):
    config = families.default_model("vae")
    config.update(hidden=(9, 8), latent_dim=1, upper_latent_dims=(1,), upper_hidden=(7, 7))
    config.update(top_down=True, log_variance=(-2.0, 1.0), **changes)
    family = families.build("vae", config, SPEC)
    x = np.random.default_rng(0).integers(0, 2, (4, *SPEC.shape)).astype(np.float32)
    batch = {"x": jnp.asarray(x), "label": jnp.arange(4) % 3}
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: p + jnp.float32(0.3 * rng.normal(size=p.shape)), params)
    return family, params, extra, batch


def grid(num):
    """All pairs of latents, for each of `num` examples: two arrays [N, num, 1]."""
    pairs = np.stack(np.meshgrid(SIDE, SIDE, indexing="ij"), -1).reshape(-1, 2)
    return [jnp.float32(np.repeat(pairs[:, None, i : i + 1], num, 1)) for i in range(2)]


def on_grid(family, params, batch):
    """log p(z1, z2), log p(x | z1, z2) and log q(z1, z2 | x), each [N, B]."""
    latents = grid(4)
    module = family.network.bind({"params": params["vae"]})
    label = jnp.broadcast_to(batch["label"], latents[0].shape[:2])
    prior = module.log_prior(latents, label).sum(0)
    outputs = module.decode(jnp.concatenate(latents, -1), label)
    posterior = module.log_posterior(batch["x"], batch["label"], latents).sum(0)
    likelihood = family.likelihood.log_prob(outputs, batch["x"])
    return (np.float64(each) for each in (prior, likelihood, posterior))


@pytest.mark.parametrize(
    "changes", [{}, {"activation": "gated"}, {"prior": "vamp", "prior_components": 3}]
)
def test_densities_integrate_to_one_and_the_bound_is_their_integral(changes):
    family, params, extra, batch = build(**changes)
    prior, likelihood, posterior = on_grid(family, params, batch)
    np.testing.assert_allclose(np.exp(prior).sum(0) * CELL, 1, rtol=1e-2)
    np.testing.assert_allclose(np.exp(posterior).sum(0) * CELL, 1, rtol=1e-2)
    exact = (np.exp(posterior) * (prior + likelihood - posterior)).sum(0) * CELL
    each = keys.per_example(keys.stream(0, "x"), jnp.arange(4))
    weights = jax.jit(family.log_weights, static_argnums=4)(params, extra, batch, each, 5_000)
    log_w = np.asarray(weights.log_w)
    error = log_w.std(0) / 5_000**0.5
    assert (np.abs(log_w.mean(0) - exact) < 4 * error + 2e-2).all()
    # What is trained is the mean of the log weights.
    losses, _, metrics = family.losses(("vae",), params, extra, batch, each, jnp.int32(10**6))
    assert losses["vae"] == pytest.approx(-float(metrics["elbo"]), rel=1e-5)


def test_samples_are_of_both_layers():
    family, params, extra, batch = build(conditional=True)
    assert families.has(family, Decoder) and family.latent_dim == 2
    prior, _, _ = on_grid(family, params, batch)
    latents = grid(4)
    module = family.network.bind({"params": params["vae"]})
    label = jnp.broadcast_to(batch["label"], latents[0].shape[:2])
    means = np.float64(family.likelihood.mean(module.decode(jnp.concatenate(latents, -1), label)))
    expected = (np.exp(prior)[..., None, None, None] * means).sum(0) * CELL
    num, sample = 4_000, jax.jit(family.sample)
    each = keys.per_example(keys.stream(1, "s"), jnp.arange(num))
    for row in range(3):
        condition = {"label": jnp.full(num, batch["label"][row])}
        x = np.asarray(sample(params, extra, each, condition, {"temperature": 1.0}))
        error = x.std(0) / num**0.5
        assert (np.abs(x.mean(0) - expected[row]) < 5 * error + 1e-3).all()


def test_an_example_has_the_means_of_both_layers():
    family, params, extra, batch = build()
    found = family.encode(params, extra, batch)
    module = family.network.bind({"params": params["vae"]})
    top = module._top_posterior(batch["x"], batch["label"])
    latents = module.sample_posterior(batch["x"], batch["label"], [0.0, 0.0])
    np.testing.assert_allclose(found.mean, np.concatenate(latents, -1), rtol=1e-5)
    np.testing.assert_allclose(found.mean[:, 1:], top.mean, rtol=1e-5)
    assert found.log_variance.shape == (4, 2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"upper_latent_dims": ()}, "there is nothing above z1"),
        ({"flow_steps": 2}, "a flow is of z1 given x alone"),
        ({"network": "conv"}, "it is of dense layers"),
    ],
)
def test_what_it_is_not_of_is_refused(changes, told):
    with pytest.raises(UserError, match=told):
        build(**changes)
