"""The VQ-VAE's objective, networks and abilities, and its codebook in the training loop."""

import cli
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax import experiment, families, keys, parallel
from gen_jax.data.batches import TrainBatches, epoch_indices
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import base
from gen_jax.families.vqvae import quantize

SPECS = {
    "bernoulli": DataSpec("binary", (6, 5, 1), levels=17),
    "discretized_logistic": DataSpec("bytes", (6, 5, 3), levels=256),
    "gaussian": DataSpec("real", (6, 5, 2), levels=256),
}


def build(likelihood="gaussian", spec=None, **model):
    config = families.default_model("vqvae")
    small = {"width": 6, "residual_blocks": 0, "codebook_size": 7, "code_dim": 3, "levels": (4, 3)}
    config.update(likelihood=likelihood, **(small | model))
    return families.build("vqvae", config, spec or SPECS[likelihood])


def batch_of(spec, size=4):
    raw = np.random.default_rng(0).integers(0, max(spec.levels, 2), (size, *spec.shape))
    each = keys.per_example(keys.stream(0, "data"), jnp.arange(size))
    x = spec.prepare(jnp.uint8(raw), each)
    return {"x": x, "label": jnp.zeros(size, jnp.int32)}, each


def init(family, batch):
    return jax.jit(family.init)(jax.random.key(0), batch)


def on_devices(function, *inputs, devices=1):
    """Within the axis over devices, each with its part of the batch -> the first one's result."""
    parts = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), inputs)
    mapped = jax.jit(jax.vmap(function, axis_name=parallel.AXIS))
    return jax.tree.map(lambda x: x[0], mapped(*parts))


def losses(family, params, extra, batch, each, devices=1):
    """The means over devices, as the training step takes them."""

    def run(batch, each):
        out = family.losses(("vqvae",), params, extra, batch, each, jnp.int32(0))
        return parallel.mean(out)

    return on_devices(run, batch, each, devices=devices)


@pytest.mark.parametrize(
    ("likelihood", "quantizer"),
    [("bernoulli", "vq"), ("discretized_logistic", "fsq"), ("gaussian", "vq")],
)
def test_loss_and_abilities_by_hand(likelihood, quantizer):
    family = build(likelihood, quantizer=quantizer, residual_blocks=int(likelihood == "gaussian"))
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)

    def run(batch, each):
        def loss(params):
            values, _, metrics = family.losses(("vqvae",), params, extra, batch, each, jnp.int32(0))
            return values["vqvae"], metrics

        z = family.encode(params, extra, batch).mean
        abilities = (z, family.codes(params, extra, batch), family.decode(params, extra, z, {}))
        return jax.value_and_grad(loss, has_aux=True)(params), abilities

    out = on_devices(run, batch, each)
    ((value, metrics), grads), (z, codes, decoded) = jax.tree.map(np.asarray, out)
    assert value.dtype == jnp.float32
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.abs(grad).max() > 0, jax.tree_util.keystr(path)

    # By hand from the abilities: encode, codes, and the decoder at the codes' vectors.
    assert codes.shape == (4, 2, 2) and codes.dtype == np.int32
    assert codes.min() >= 0 and codes.max() < family.codebook_size
    vectors = (
        quantize.fsq_vectors(codes, (4, 3))
        if quantizer == "fsq"
        else np.asarray(quantize.code_vectors(extra["codebook"]))[codes]
    )
    decode = jax.jit(lambda p, v: family.network.apply({"params": p}, v, method="decode"))
    outputs = decode(params["vqvae"], vectors)
    distortion = -family.likelihood.log_prob(outputs, batch["x"]).mean()
    np.testing.assert_allclose(metrics["distortion"], distortion, rtol=1e-4)
    penalty = 0.0
    if quantizer == "vq":
        distance = np.square(np.asarray(z) - vectors.reshape(4, -1)).sum(1).mean()
        np.testing.assert_allclose(metrics["commitment"], distance, rtol=1e-4)
        penalty = 0.25 * distance
    np.testing.assert_allclose(value, distortion + penalty, rtol=1e-4)
    used = np.unique(codes, return_counts=True)[1] / codes.size
    np.testing.assert_allclose(metrics["perplexity"], np.prod(used**-used), rtol=1e-4)
    np.testing.assert_allclose(metrics["usage"], len(used) / family.codebook_size, rtol=1e-5)

    # decode quantises: the encoder's output and its codes' vectors give one picture.
    np.testing.assert_allclose(decoded, family.likelihood.mean(outputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 4, 2), (5, 9, 3), (28, 28, 1)])
def test_sizes_and_channels_come_from_the_data(shape):
    family = build(spec=DataSpec("real", shape, levels=256))
    batch, _ = batch_of(family.spec)
    params, extra = jax.eval_shape(family.init, jax.random.key(0), batch)
    grid = (-(-shape[0] // 4), -(-shape[1] // 4))
    assert family.latent_dim == grid[0] * grid[1] * 3
    assert jax.eval_shape(family.codes, params, extra, batch).shape == (4, *grid)
    mean, log_variance = jax.eval_shape(family.encode, params, extra, batch)
    assert mean.shape == log_variance.shape == (4, family.latent_dim)
    decoded = jax.eval_shape(family.decode, params, extra, mean, {})
    assert decoded.shape == (4, *shape) and decoded.dtype == jnp.float32


def test_devices_agree():
    family = build(restart_threshold=0.9, decay=0.5)
    batch, each = batch_of(family.spec)
    params, extra = init(family, batch)
    one = losses(family, params, extra, batch, each)
    two = losses(family, params, extra, batch, each, devices=2)
    assert one[2]["restarted"] > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two)


def test_encoder_starts_standardised_and_the_codebook_at_its_outputs():
    family = build()
    batch, _ = batch_of(family.spec, size=32)
    params, extra = init(family, batch)
    z = jax.jit(family.encode)(params, extra, batch).mean.reshape(-1, 3)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-3)
    codes = quantize.code_vectors(extra["codebook"])
    assert np.abs(codes[:, None] - z).max(-1).min(1).max() < 1e-3


def test_abilities():
    family = build()
    assert families.has(family, base.Autoencoder) and families.has(family, base.Discrete)
    assert not families.has(family, base.Sampler)
    assert build(quantizer="fsq").codebook_size == 12 and family.codebook_size == 7
    with pytest.raises(UserError, match="codes, which VAE lacks; families that have it: VQVAE"):
        model = families.default_model("vae")
        families.require(families.build("vae", model, SPECS["bernoulli"]), "it", base.Discrete)


def test_bfloat16_computes_in_it_and_keeps_float32_parameters_and_losses():
    family = build(dtype="bfloat16")
    batch, each = batch_of(family.spec)
    params, extra = jax.eval_shape(family.init, jax.random.key(0), batch)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, extra))} == {jnp.dtype("float32")}
    out = jax.eval_shape(lambda p, e: losses(family, p, e, batch, each), params, extra)
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype("float32")}
    text = str(jax.make_jaxpr(lambda p: family.encode(p, {}, batch))(params))
    assert "bf16" in text and "bf16" not in str(
        jax.make_jaxpr(lambda p: build().encode(p, {}, batch))(params)
    )


def test_the_loop_moves_the_codebook_by_the_batch_of_each_step():
    """Three compiled steps; the first against numpy with the encoder as it was before it."""
    config = config_lib.load_file(f"{cli.ROOT}/experiments/vae_vq_fashion_mnist.py:smoke")
    config_lib.override(
        config,
        [
            "--config.data.name=digits",
            "--config.data.preprocess=bytes",  # no noise
            "--config.model.likelihood=discretized_logistic",
            "--config.model.width=4",
            "--config.model.residual_blocks=0",
            "--config.model.codebook_size=8",
            "--config.model.restart_threshold=0.0",
        ],
    )
    built = experiment.build(config)
    train = built.dataset.splits["train"]
    state = built.init()
    start = jax.device_get(state)
    x = train.gather(epoch_indices(0, len(train), 0, 16))["x"]
    batch = {"x": jnp.float32(x), "label": jnp.zeros(16, jnp.int32)}
    z = np.asarray(built.subject(start).encode(batch).mean).reshape(-1, 16)
    before = start.extra["codebook"]
    codes = before["sum"] / before["size"][:, None]
    chosen = np.eye(8)[np.square(z[:, None] - codes).sum(-1).argmin(1)]

    batches = TrainBatches(
        train,
        seeds=[0],
        batch_size=16,
        num_turns=1,
        steps_per_dispatch=1,
        resident_limit_mb=100,
    )
    step = built.compile()
    data, values = parallel.replicated((batches.data, built.replica_values))
    state, found = parallel.replicated(state), []
    for given in batches.dispatches(0, 3):
        state, _ = step(state, data, values, parallel.split(given, 2))
        found.append(jax.device_get(state.extra["codebook"]))
    np.testing.assert_allclose(
        found[0]["size"], 0.99 * before["size"] + 0.01 * chosen.mean(0), rtol=1e-5
    )
    expected = 0.99 * before["sum"] + 0.01 * chosen.T @ z / len(z)
    np.testing.assert_allclose(found[0]["sum"], expected, rtol=1e-4, atol=1e-6)
    assert (found[2]["sum"] != found[1]["sum"]).any()


@pytest.mark.parametrize(
    ("changes", "spec", "expected"),
    [
        ({}, DataSpec("real", (2,)), "needs images"),
        ({"quantizer": "x"}, None, "unknown model.quantizer 'x'; valid are: vq, fsq"),
        ({"dtype": "float16"}, None, "valid are: float32, bfloat16"),
        ({"codebook_size": 0}, None, "model.codebook_size=0 must be at least 1"),
        ({"decay": 1.0}, None, "model.decay=1.0 must be from 0 to below 1"),
        ({"commitment": -1.0}, None, "model.commitment=-1.0 must be at least 0"),
        ({"restart_threshold": 1.0}, None, "restart_threshold=1.0 must be from 0"),
        ({"quantizer": "fsq", "levels": ()}, None, "one for each dimension"),
        ({"quantizer": "fsq", "levels": (8, 2)}, None, "must be numbers from 3 up"),
        ({"quantizer": "fsq", "levels": (8,) * 12}, None, "more than 1,048,576"),
    ],
)
def test_unsuitable_models_are_refused(changes, spec, expected):
    with pytest.raises(UserError, match=expected):
        build(spec=spec, **changes)
