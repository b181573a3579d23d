"""The very deep VAE: densities, passes up and down, objective, abilities."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from drawing import sample

from gen_jax import families, keys, parallel
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.vdvae import networks
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.training import optimizers
from gen_jax.training import step as train_step

SPEC = DataSpec("binary", (7, 5, 2), levels=17)
SIZE = 4


def build(spec=SPEC, **model):
    config = families.default_model("vdvae")
    config.update({"blocks": (0, 1, 1), "width": 6, "inner_width": 4, "latent_channels": 2})
    config.update(model)
    return families.build("vdvae", config, spec)


def batch_of(spec, size=SIZE):
    raw = np.random.default_rng(0).integers(0, spec.levels, (size, *spec.shape))
    each = keys.per_example(keys.stream(0, "data"), jnp.arange(size))
    return {"x": spec.prepare(jnp.uint8(raw), each), "label": jnp.zeros(size, jnp.int32)}, each


def random_params(family, batch, scale=0.5):
    """Parameters as after some training: kernels and biases at random, none at an initial zero."""
    shapes, extra = jax.eval_shape(family.init, jax.random.key(0), batch)
    assert extra == {}
    rng = np.random.default_rng(1)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) == 4 else 1
        return jnp.float32(2 * scale * rng.normal(size=leaf.shape) / max(fan_in, 4) ** 0.5)

    return jax.tree.map(draw, shapes)


@pytest.fixture(scope="module")
def model():
    """(family, params, batch, keys) of two layers, at 4x3 and 1x1, and 7x5 images."""
    family = build(beta=4.0, beta_warmup_steps=10)
    batch, each = batch_of(SPEC)
    return family, random_params(family, batch), batch, each


@pytest.fixture(scope="module")
def log_weights(model):
    """`log_weights` of 2,000 samples as a function of params, batch and keys."""
    family = model[0]
    return jax.jit(lambda params, batch, each: family.log_weights(params, {}, batch, each, 2_000))


@pytest.fixture(scope="module")
def weights(model, log_weights):
    return log_weights(*model[1:])


@pytest.fixture(scope="module")
def metrics(model):
    """Loss and metrics of 1,000 draws of noise at steps 0 to 999, [1000] each."""
    family, params, batch, _ = model

    def one(step):
        each = keys.per_example(keys.stream(step, "x"), jnp.arange(SIZE))
        losses, _, metrics = family.losses(("vdvae",), params, {}, batch, each, step)
        return metrics | {"loss": losses["vdvae"]}

    many = jax.jit(lambda steps: jax.lax.map(one, steps, batch_size=50))
    return jax.device_get(many(jnp.arange(1_000)))


def test_kl_of_gaussians_is_the_integral():
    q = DiagonalGaussian(jnp.array([[0.3]]), jnp.array([[-0.8]]))
    p = DiagonalGaussian(jnp.array([[-0.5]]), jnp.array([[0.6]]))
    z = np.linspace(-12, 12, 20_001)

    def log_density(g):
        variance = np.exp(float(g.log_variance[0, 0]))
        return -((z - float(g.mean[0, 0])) ** 2) / 2 / variance - np.log(2 * np.pi * variance) / 2

    integrand = np.exp(log_density(q)) * (log_density(q) - log_density(p))
    expected = np.trapezoid(integrand, z)
    np.testing.assert_allclose(q.kl(p), [[expected]], rtol=1e-5)


def test_closed_form_kl_of_each_layer_is_the_mean_of_sampled_log_ratios(weights, metrics):
    ratios = np.asarray(weights.log_ratios).mean(2)  # [D, K]
    assert len(ratios) == 2
    for layer, sampled in enumerate(ratios, 1):
        closed = metrics[f"rate/layer_{layer}"]
        stderr = np.hypot(sampled.std() / len(sampled) ** 0.5, closed.std() / len(closed) ** 0.5)
        assert stderr < 0.1 * closed.mean()
        assert abs(closed.mean() + sampled.mean()) < 4 * stderr, layer
    # They differ by more than the errors, so a wrong order of layers would show.
    means = [metrics[f"rate/layer_{layer}"].mean() for layer in (1, 2)]
    assert abs(means[0] - means[1]) > 0.2 * min(means)


def test_the_metrics_add_up_and_are_the_elbo_of_the_weights(weights, metrics):
    layers = sum(metrics[f"rate/layer_{layer}"] for layer in (1, 2))
    np.testing.assert_allclose(metrics["rate"], layers, rtol=1e-5)
    np.testing.assert_allclose(-metrics["elbo"], metrics["rate"] + metrics["distortion"], rtol=1e-5)
    log_w = np.asarray(weights.log_w).mean(1)
    stderr = np.hypot(
        log_w.std() / len(log_w) ** 0.5, metrics["elbo"].std() / len(metrics["elbo"]) ** 0.5
    )
    assert abs(metrics["elbo"].mean() - log_w.mean()) < 4 * stderr


def test_importance_weights_give_the_likelihood_of_brute_force():
    """log p(x) of two pixels and three latents, by quadrature of p(x | noise of the prior).

    The quadrature draws from the prior alone: it knows no density and no posterior.
    """
    spec = DataSpec("binary", (1, 2, 1), levels=2)
    family = build(spec, blocks=(1, 1), width=4, inner_width=4, latent_channels=1)
    assert family.latent_dim == 3
    x = np.array(list(itertools.product((0.0, 1.0), repeat=2)), np.float32)
    batch = {"x": jnp.asarray(x.reshape(4, 1, 2, 1)), "label": jnp.zeros(4, jnp.int32)}
    params = random_params(family, batch, 0.4)
    for block in ("down_0_0", "down_1_0"):
        # Posteriors wider than the priors, so that the weights have a finite variance.
        params["vdvae"][block]["posterior_network"]["Conv_3"]["bias"] += jnp.array([0.0, 1.0])

    nodes, mass = np.polynomial.hermite_e.hermegauss(24)
    grid = np.array(list(itertools.product(nodes, repeat=3)), np.float32)
    mass = np.array(list(itertools.product(mass / mass.sum(), repeat=3))).prod(1)
    outputs = jax.jit(functools.partial(family.network.apply, method="generate"))(
        {"params": params["vdvae"]}, grid, 1.0
    )
    p = np.asarray(family.likelihood.mean(outputs), np.float64).reshape(-1, 1, 2)
    exact = np.log((mass[:, None] * np.where(x == 1, p, 1 - p).prod(-1)).sum(0))
    np.testing.assert_allclose(np.exp(exact).sum(), 1, rtol=1e-6)

    each = keys.per_example(keys.stream(0, "x"), jnp.arange(4))
    terms = jax.jit(family.log_weights, static_argnums=4)(params, {}, batch, each, 20_000)
    log_w = np.asarray(terms.log_w, np.float64)
    w = np.exp(log_w)
    stderr = w.std(0) / len(w) ** 0.5 / w.mean(0)
    assert stderr.max() < 0.03
    assert (np.abs(np.log(w.mean(0)) - exact) < 4 * stderr).all()
    # The bound is loose, so a single weight would not have done.
    assert (exact - log_w.mean(0)).max() > 10 * stderr.max()


def test_decoding_the_means_is_the_pass_without_noise(model):
    family, params, batch, _ = model
    posterior = jax.jit(family.encode)(params, {}, batch)
    size = (4 * 3 + 1) * 2
    assert family.latent_dim == size
    assert posterior.mean.shape == posterior.log_variance.shape == (SIZE, size)
    decode = jax.jit(functools.partial(family.decode, condition={}))
    decoded = decode(params, {}, posterior.mean)
    outputs = jax.jit(family.network.apply)({"params": params["vdvae"]}, batch["x"])
    np.testing.assert_allclose(decoded, jax.nn.sigmoid(outputs[..., 0]), rtol=1e-4, atol=1e-6)
    moved = decode(params, {}, posterior.mean + 0.1)
    assert np.abs(moved - decoded).max() > 1e-3


def test_a_draw_of_the_posterior_decodes_as_it_was_drawn(model):
    family, params, batch, each = model
    z = family.sample_posterior(params, {}, batch, each)
    noise = keys.normal(each, (family.latent_dim,))
    drawn = family.likelihood.mean(family._infer(params, batch, noise).outputs)
    np.testing.assert_allclose(family.decode(params, {}, z, {}), drawn, rtol=1e-4, atol=1e-5)
    mean, log_variance = family.encode(params, {}, batch)
    apart = mean + jnp.exp(log_variance / 2) * noise  # lower layers given means, not draws
    assert np.abs(z - apart).max() > 1e-2


def test_the_posterior_reads_the_image_and_the_prior_does_not(model):
    """KL to the prior at each layer, with z given: it changes with x through q alone."""
    family, params, batch, _ = model
    variables = {"params": params["vdvae"]}
    z = jax.random.normal(jax.random.key(0), (SIZE, family.latent_dim))

    def passes(x, z):
        """Priors and posteriors of all layers where the latents are z, whatever x says."""

        def run(network):
            activations, found = network.bottom_up(x), []

            def latents(layer, level, block, h, prior):
                found.append((prior, block.posterior(h, activations[level])))
                return network._split(z)[layer]

            network._top_down(len(z), latents)
            return found

        return family.network.apply(variables, method=run)

    passes = jax.jit(passes)
    here, there, other_z = passes(batch["x"], z), passes(1 - batch["x"], z), passes(batch["x"], -z)
    for layer in range(2):
        np.testing.assert_array_equal(here[layer][0].mean, there[layer][0].mean)
        for part in (0, 1):
            assert np.abs(here[layer][1][part] - there[layer][1][part]).max() > 1e-3
            # Each prior depends on the layers above it, and the topmost on none.
            change = np.abs(here[layer][0][part] - other_z[layer][0][part]).max()
            assert change > 1e-3 if layer else change == 0


def test_an_example_does_not_depend_on_the_others(model, log_weights, weights):
    """Half of the batch is replaced and the rest has other places: its draws move with it."""
    _, params, batch, each = model
    x = jnp.concatenate([1 - batch["x"][:2], batch["x"][2:]])[::-1]
    moved = log_weights(params, batch | {"x": x}, each[::-1])
    for before, after in zip(weights, moved, strict=True):
        np.testing.assert_allclose(after[..., 1::-1], before[..., 2:], rtol=1e-4, atol=1e-4)
        assert np.abs(after[..., 3] - before[..., 0]).max() > 0.1


def test_beta_and_its_warmup_weigh_the_rate(metrics):
    beta = 4.0 * np.minimum(1, np.arange(1, 1_001) / 10)
    expected = metrics["distortion"] + beta * metrics["rate"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


def test_temperature_scales_the_noise_of_all_layers(model):
    family, params, _, _ = model
    draw = jax.jit(lambda t: sample(family, params, {}, jax.random.key(0), 5, temperature=t))
    cold, warm = draw(0.0), draw(1.0)
    assert warm.shape == (5, *SPEC.shape)
    np.testing.assert_allclose(cold, np.broadcast_to(cold[:1], cold.shape), atol=1e-6)
    assert np.abs(warm[0] - warm[1]).max() > 1e-2
    assert np.abs(warm - cold).max() > np.abs(draw(0.1) - cold).max() > 1e-4


def test_pooling_and_upsampling_by_hand():
    x = np.arange(15.0).reshape(1, 3, 5, 1)
    halved = networks.pool(jnp.asarray(x), (2, 3))[0, :, :, 0]
    expected = [
        [x[0, i : i + 2, j : j + 2].mean() for j in (0, 2, 4)] for i in (0, 2)
    ]  # a window over the edge is the mean of what it has
    np.testing.assert_allclose(halved, expected)
    np.testing.assert_allclose(networks.pool(jnp.asarray(x), (1, 1)), x.mean().reshape(1, 1, 1, 1))
    up = networks.upsample(jnp.asarray(x), (5, 9))[0, :, :, 0]
    np.testing.assert_array_equal(up, x[0, np.arange(5) // 2][:, np.arange(9) // 2, 0])
    assert networks.resolutions((28, 28), 5) == ((28, 28), (14, 14), (7, 7), (4, 4), (1, 1))
    assert networks.resolutions((7, 5), 4) == ((7, 5), (4, 3), (2, 2), (1, 1))
    assert networks.resolutions((1, 1), 1) == ((1, 1),)


@pytest.mark.parametrize(
    ("shape", "blocks", "likelihood"),
    [
        ((8, 8, 1), (1, 1, 1, 1), "categorical"),
        ((28, 28, 1), (0, 1, 0, 1, 0, 1), "discretized_logistic"),
        ((28, 28, 3), (1, 1), "discretized_logistic"),
        ((7, 5, 2), (1, 1, 1), "categorical"),
        ((1, 1, 3), (2,), "discretized_logistic_mixture"),
    ],
)
def test_sizes_channels_and_likelihoods_come_from_the_data(shape, blocks, likelihood):
    spec = DataSpec("bytes", shape, levels=5)
    family = build(spec, blocks=blocks, likelihood=likelihood)
    x = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    batch = {"x": x, "label": jax.ShapeDtypeStruct((3,), jnp.int32)}
    key = jax.eval_shape(lambda: jax.random.key(0))
    each = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))
    params, extra = jax.eval_shape(family.init, key, batch)
    run = functools.partial(jax.eval_shape, extra=extra)
    terms = jax.eval_shape(
        lambda *a: family.log_weights(*a, num_samples=2), params, extra, batch, each
    )
    assert terms.log_likelihood.shape == (2, 3)
    assert terms.log_ratios.shape == (sum(blocks), 2, 3)
    posterior = run(family.encode, params, batch=batch)
    assert run(family.decode, params, z=posterior.mean, condition={}).shape == (3, *shape)


def test_bfloat16_computes_in_it_and_keeps_float32_parameters_and_losses():
    spec, values = DataSpec("binary", (2, 2, 1), levels=2), {}
    batch, each = batch_of(spec)
    for dtype in ("bfloat16", "float32"):
        family = build(spec, blocks=(0, 1), dtype=dtype)
        params = random_params(family, batch)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}

        def loss(params, family=family):
            losses, _, _ = family.losses(("vdvae",), params, {}, batch, each, jnp.int32(0))
            return losses["vdvae"]

        values[dtype] = jax.jit(loss)(params)
        assert values[dtype].dtype == jnp.float32
        assert ("bf16" in str(jax.make_jaxpr(loss)(params))) == (dtype == "bfloat16")
    assert values["bfloat16"] != values["float32"]
    np.testing.assert_allclose(values["bfloat16"], values["float32"], rtol=0.05)


def test_training_steps_lower_the_loss_and_move_every_parameter():
    spec = DataSpec("binary", (4, 4, 1), levels=2)
    family = build(spec, blocks=(1, 1), width=8)
    steps, size = 150, 8
    config = toy.optim(name="adam", lr=1e-2, b1=0.9, clip_norm=200.0, ema_half_life=5.0)
    optimizer = {"vdvae": optimizers.make(config, steps, "vdvae")}
    # All black or all white: ln 2 = 0.7 nats, where pixels by themselves have 16 ln 2 = 11.1.
    x = np.zeros((4, 4, 4, 1), np.uint8)
    x[::2] = 1
    init = jax.jit(train_step.make_init(family, optimizer))
    state = init(np.uint32(0), {"x": jnp.float32(x), "label": jnp.zeros(4, jnp.int32)})
    fetch = lambda data, batch: {name: rows[batch["index"]] for name, rows in data.items()}  # noqa: E731
    run = parallel.compile_train(train_step.make_steps(family, optimizer, spec, fetch, 1))
    index = np.random.default_rng(0).integers(0, 4, (steps, 1, size)).astype(np.int32)
    start = jax.device_get(state.params)
    inputs = parallel.replicated((state, {"x": x, "label": np.zeros(4, np.int32)}, np.uint32(0)))
    state, metrics = run(*inputs, parallel.split({"index": index}, 2))
    loss = np.asarray(metrics["loss/vdvae"])
    assert loss[:5].mean() > 10 > 5 > loss[-20:].mean() > 0.6, loss
    assert metrics["rate"][-20:].mean() > 0.5  # the latents say which
    moved = jax.tree.map(lambda old, new: np.abs(new - old).min(), start, state.params)
    for path, change in jax.tree_util.tree_leaves_with_path(moved):
        assert change > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    ("spec", "changes", "expected"),
    [
        (DataSpec("real", (2,)), {"likelihood": "gaussian"}, "needs images"),
        (SPEC, {"likelihood": "gaussian"}, "not of binary data, which have bernoulli"),
        (SPEC, {"dtype": "float16"}, "valid are: float32, bfloat16"),
        (SPEC, {"latent_channels": 0}, "model.latent_channels=0 must be at least 1"),
        (SPEC, {"blocks": (1, 1, 1, 1, 1)}, "7x5 have 2 to 4: .*'\\(1, 1, 1, 1\\)'"),
        (SPEC, {"blocks": (1,)}, "has 1 resolutions"),
        (SPEC, {"blocks": (0, 0)}, "at least one of them above 0"),
        (SPEC, {"blocks": (1, -1)}, "must be at least 0"),
    ],
)
def test_unsuitable_models_are_refused(spec, changes, expected):
    with pytest.raises(UserError, match=expected):
        build(spec, **changes)
