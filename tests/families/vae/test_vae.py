"""The VAE's objective, networks and abilities."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drawing import sample

from gen_jax import families, keys
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError

SPECS = {
    "bernoulli": DataSpec("binary", (6, 5, 1), levels=17, num_classes=3),
    "categorical": DataSpec("bytes", (6, 5, 2), levels=5, num_classes=3),
    "discretized_logistic": DataSpec("bytes", (6, 5, 3), levels=256, num_classes=3),
    "gaussian": DataSpec("real", (6, 5, 1), levels=256, num_classes=3),
}


def build(likelihood="bernoulli", spec=None, **model):
    config = families.default_model("vae")
    config.update(hidden=(12, 8), latent_dim=2, likelihood=likelihood, **model)
    return families.build("vae", config, spec or SPECS[likelihood])


def batch_of(spec, size=4):
    raw = np.random.default_rng(0).integers(0, max(spec.levels, 2), (size, *spec.shape))
    each = keys.per_example(keys.stream(0, "data"), jnp.arange(size))
    label = jnp.arange(size) % max(spec.num_classes, 1)
    return {"x": spec.prepare(jnp.uint8(raw), each), "label": label}, each


def init(family, batch):
    return jax.jit(family.init)(jax.random.key(0), batch)


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", SPECS)
def test_every_likelihood_and_network(likelihood, network):
    family = build(likelihood, network=network, conditional=True)
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)

    def loss(params):
        losses, _, metrics = family.losses(("vae",), params, extra, batch, each, jnp.int32(0))
        return losses["vae"], metrics

    (value, metrics), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert value.dtype == jnp.float32 and np.isfinite(value)
    np.testing.assert_allclose(-metrics["elbo"], metrics["rate"] + metrics["distortion"], rtol=1e-6)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.abs(grad).max() > 0, jax.tree_util.keystr(path)
    x = sample(family, params, extra, jax.random.key(1), 3, jnp.array([0, 1, 2]))
    assert x.shape == (3, *family.spec.shape)


def test_loss_is_the_elbo_that_the_weights_have():
    """The loss (closed-form KL, one sample) against log w = log p(x|z) p(z) / q(z|x)."""
    family = build()
    batch, _ = batch_of(family.spec)
    params, extra = init(family, batch)

    def one(seed):
        each = keys.per_example(keys.stream(seed, "x"), jnp.arange(4))
        losses, _, metrics = family.losses(("vae",), params, extra, batch, each, jnp.int32(0))
        return losses["vae"], metrics["rate"]

    losses, rates = jax.jit(jax.vmap(one))(jnp.arange(3_000))
    each = keys.per_example(keys.stream(0, "y"), jnp.arange(4))
    weights = jax.jit(family.log_weights, static_argnums=4)(params, extra, batch, each, 3_000)
    log_w = np.asarray(weights.log_w).mean(1)
    stderr = np.hypot(losses.std(), log_w.std()) / len(log_w) ** 0.5
    assert abs(losses.mean() + log_w.mean()) < 4 * stderr
    rate = -np.asarray(weights.log_ratio).mean(1)
    assert abs(rates[0] - rate.mean()) < 4 * rate.std() / len(rate) ** 0.5


def test_beta_and_its_warmup_weigh_the_rate():
    family = build(beta=4.0, beta_warmup_steps=10)
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)
    for step, weight in ((0, 0.4), (4, 2.0), (9, 4.0), (50, 4.0)):
        losses, _, m = family.losses(("vae",), params, extra, batch, each, jnp.int32(step))
        expected = m["distortion"] + weight * m["rate"]
        np.testing.assert_allclose(losses["vae"], expected, rtol=1e-5)


def test_bernoulli_decoder_starts_at_the_mean_image():
    for network in ("mlp", "conv"):
        family = build(network=network)
        batch, _ = batch_of(family.spec, size=64)
        params, extra = init(family, batch)
        start = jax.jit(family.decode)(params, extra, jnp.zeros((1, 2)), {})[0]
        mean = batch["x"].mean(0)
        if network == "mlp":
            expected = np.clip(mean, 1e-3, 1 - 1e-3)
        else:  # one bias for a channel; from z = 0 nothing else reaches the output
            expected = jax.nn.sigmoid(jnp.log(mean / (1 - mean)).mean()) * jnp.ones_like(mean)
        np.testing.assert_allclose(start, expected, atol=1e-5)


def test_autoencoder_has_neither_noise_nor_rate():
    family = build(autoencoder=True)
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)
    first, _, metrics = family.losses(("vae",), params, extra, batch, each, jnp.int32(0))
    other, _, _ = family.losses(("vae",), params, extra, batch, keys.fold(each, 1), jnp.int32(0))
    assert first["vae"] == other["vae"] == metrics["distortion"]
    mean = family.decode(params, extra, family.encode(params, extra, batch).mean, batch)
    x = np.asarray(batch["x"], np.float64)
    by_hand = -(x * np.log(mean) + (1 - x) * np.log1p(-mean)).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(metrics["distortion"], by_hand, rtol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_batch_is_overfitted_to_near_zero_distortion(network):
    family = build(network=network, autoencoder=True, activation="relu")
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)
    optimizer = optax.adam(1e-2)

    def step(carry, _):
        params, state = carry

        def loss(params):
            losses, _, _ = family.losses(("vae",), params, extra, batch, each, jnp.int32(0))
            return losses["vae"]

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    _, values = jax.lax.scan(step, (params, optimizer.init(params)), length=600)
    assert values[0] > 10 and values[-1] < 0.1, (values[0], values[-1])


def test_bfloat16_computes_in_it_and_keeps_float32_parameters_and_losses():
    family = build(dtype="bfloat16")
    same = build(dtype="float32")
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    losses, _, _ = family.losses(("vae",), params, extra, batch, each, jnp.int32(0))
    exact, _, _ = same.losses(("vae",), params, extra, batch, each, jnp.int32(0))
    assert losses["vae"].dtype == jnp.float32
    assert losses["vae"] != exact["vae"]
    np.testing.assert_allclose(losses["vae"], exact["vae"], rtol=0.02)
    text = str(jax.make_jaxpr(lambda p: family.encode(p, extra, batch))(params))
    assert "bf16" in text


def test_condition_changes_what_is_decoded_and_encoded():
    family = build(conditional=True)
    batch, _ = batch_of(family.spec)
    params, extra = init(family, batch)
    z = jnp.zeros((2, 2))
    decoded = family.decode(params, extra, z, {"label": jnp.array([0, 1])})
    assert np.abs(decoded[0] - decoded[1]).max() > 1e-4
    other = batch | {"label": (batch["label"] + 1) % 3}
    assert (
        np.abs(
            family.encode(params, extra, batch).mean - family.encode(params, extra, other).mean
        ).max()
        > 1e-4
    )
    assert family.given == ("label",) and build().given == ()


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_gated_layers_are_one_half_times_the_sigmoid_of_the_other(network):
    family = build(network=network, activation="gated", upper_latent_dims=(3,), upper_hidden=(7,))
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)
    losses, _, _ = family.losses(("vae",), params, extra, batch, each, jnp.int32(0))
    assert np.isfinite(losses["vae"])
    if network == "conv":
        return
    # The encoder by hand, of random weights.
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.float32(0.3 * rng.normal(size=p.shape)), params)
    encoder, h = params["vae"]["encoder"], np.float64(family.spec.center(batch["x"]))
    h = h.reshape(4, -1)
    for index in range(2):
        layer = encoder[f"Dense_{index}"]
        value, gate = np.split(h @ np.float64(layer["kernel"]) + layer["bias"], 2, -1)
        h = value / (1 + np.exp(-gate))
    posterior = params["vae"]["posterior"]
    mean = (h @ np.float64(posterior["kernel"]) + posterior["bias"])[:, :2]
    np.testing.assert_allclose(family.encode(params, extra, batch).mean, mean, rtol=1e-3, atol=1e-4)


def test_log_variances_have_bounds():
    family = build(log_variance=(-1.0, 0.5), upper_latent_dims=(3,), upper_hidden=(7,))
    free = build(upper_latent_dims=(3,), upper_hidden=(7,))
    batch, _ = batch_of(family.spec)
    params, extra = init(family, batch)
    params = jax.tree.map(lambda p: 30 * p, params)
    own = np.asarray(family.encode(params, extra, batch).log_variance)
    anything = np.asarray(free.encode(params, extra, batch).log_variance)
    np.testing.assert_array_equal(own, np.clip(anything, -1.0, 0.5))
    assert (own != anything).any()
    module = family.network.bind({"params": params["vae"]})
    above = np.asarray(module.upward[0](jnp.ones((5, 2))).log_variance)
    assert above.min() >= -1.0 and above.max() <= 0.5


def test_temperature_scales_the_latents():
    family = build()
    batch, _ = batch_of(family.spec)
    params, extra = init(family, batch)
    cold = sample(family, params, extra, jax.random.key(0), 5, temperature=0.0)
    np.testing.assert_allclose(cold, np.broadcast_to(cold[:1], cold.shape), atol=1e-6)
    warm = sample(family, params, extra, jax.random.key(0), 5)
    assert np.abs(warm - cold).max() > 1e-3


@pytest.mark.parametrize("shape", [(7, 4, 1), (8, 8, 2), (5, 9, 3), (28, 28, 1)])
def test_sizes_and_channels_come_from_the_data(shape):
    spec = DataSpec("binary", shape, levels=2)
    family = build(spec=spec, network="conv")
    batch, each = batch_of(spec)
    params, extra = init(family, batch)
    weights = jax.jit(family.log_weights, static_argnums=4)(params, extra, batch, each, 3)
    assert weights.log_likelihood.shape == weights.log_ratio.shape == (3, 4)
    assert jax.eval_shape(family.decode, params, extra, jnp.zeros((2, 2)), {}).shape == (2, *shape)


@pytest.mark.parametrize(
    ("changes", "spec", "expected"),
    [
        ({"network": "conv"}, DataSpec("real", (2,)), "needs images"),
        ({"network": "x"}, None, "unknown model.network 'x'; valid are: mlp, conv"),
        ({"conditional": True}, DataSpec("binary", (4, 4, 1), levels=2), "needs labels"),
        ({"dtype": "float16"}, None, "valid are: float32, bfloat16"),
        ({"log_variance": (2.0, -6.0)}, None, "they are the least and the largest"),
        ({"log_variance": (2.0,)}, None, "they are the least and the largest"),
    ],
)
def test_unsuitable_models_are_refused(changes, spec, expected):
    with pytest.raises(UserError, match=expected):
        build(spec=spec, **changes)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_likelihood_is_summed_over_one_long_axis(network):
    family = build(network=network)
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)

    @jax.jit
    def loss(params, batch):
        return family.losses(("vae",), params, extra, batch, each, jnp.int32(0))[0]["vae"]

    lines = loss.lower(params, batch).compile().as_text().splitlines()
    terms = [line for line in lines if "log1p" in line and " log-plus-one(" in line]
    shapes = [line.split("f32[")[1].split("]")[0] for line in terms if "erf_inv" not in line]
    # Over [6, 5, 1] XLA's CPU loops are slow: a convolutional VAE's step takes a tenth longer.
    assert shapes and all(shape.split(",")[-1] == "30" for shape in shapes)
