"""Translation: its losses by hand, who learns from which, the pool, and pictures of any size."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import families, parallel
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.adversarial import LOSSES
from gen_jax.families.base import Sampler, Stylist, TwoWays
from gen_jax.families.image_translation import style as style_lib
from gen_jax.families.image_translation.networks import PatchDiscriminator, ResNet, UNet

RNG = np.random.default_rng(0)


def spec_of(shape=(8, 8, 1), source=None):
    given = {"source": DataSpec("bytes", source or shape, 256)}
    return DataSpec("bytes", shape, 256, given=given)


def build(spec, **changes):
    model = families.default_model("image_translation")
    model.update(widths=(8, 8, 8), discriminator_widths=(8, 8), blocks=1, pool_size=6)
    model.update(changes)
    return families.build("image_translation", model, spec)


def batch_of(spec, num=4):
    shapes = {"x": spec.shape, "source": spec.given["source"].shape}
    return {n: jnp.float32(RNG.integers(0, 256, (num, *shape))) for n, shape in shapes.items()}


def keys_of(num, seed=0):
    return keys_lib.per_example(keys_lib.stream(seed, "x"), jnp.arange(num))


@functools.partial(jax.jit, static_argnums=(0, 1))
def losses(family, turn, params, extra, batch, keys):
    """As within a step: under the axis over devices, of which there is one."""

    def run(batch, keys):
        return family.losses(turn, params, extra, batch, keys, jnp.int32(0))

    found = jax.vmap(run, axis_name=parallel.AXIS)(*jax.tree.map(lambda x: x[None], (batch, keys)))
    return jax.tree.map(lambda x: x[0], found)


SIZES = [(28, 28, 1), (9, 14, 3)]


@pytest.mark.parametrize(
    ("method", "network", "shape"),
    [
        *(("pix2pix", "unet", shape) for shape in SIZES),
        *(("adain", "unet", shape) for shape in SIZES),
        # Four networks take their time to compile: each kind and each size once is quick.
        ("cyclegan", "resnet", SIZES[1]),
        ("cyclegan", "unet", SIZES[0]),
        pytest.param("cyclegan", "resnet", SIZES[0], marks=pytest.mark.long),
        pytest.param("cyclegan", "unet", SIZES[1], marks=pytest.mark.long),
    ],
)
def test_pictures_of_any_size_and_all_that_is_learned(shape, method, network):
    spec = spec_of(shape)
    family = build(spec, method=method, network=network, dropout=0.0)
    assert families.has(family, Sampler)
    assert families.has(family, TwoWays) == (method == "cyclegan")
    assert families.has(family, Stylist) == (method == "adain")
    batch, keys = batch_of(spec), keys_of(4)
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    for name in (name for turn in family.turns for name in turn):
        turn = next(turn for turn in family.turns if name in turn)

        def loss(own, name=name, turn=turn):
            return losses(family, turn, {**params, name: own}, extra, batch, keys)[0][name]

        value, gradient = jax.jit(jax.value_and_grad(loss))(params[name])
        assert np.isfinite(value)
        flat = {
            jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_leaves_with_path(gradient)
        }
        # A bias before a normalisation says nothing; every kernel does.
        assert all((leaf != 0).any() for key, leaf in flat.items() if "kernel" in key)
    x = jax.jit(lambda b: family.sample(params, extra, keys, b, {}))({"source": batch["source"]})
    assert x.shape == (4, *shape) and ((x >= 0) & (x <= 255)).all()


def test_networks_of_other_channels():
    spec = spec_of((8, 8, 3), (8, 8, 1))
    for method in ("pix2pix", "cyclegan"):
        family, batch = build(spec, method=method), batch_of(spec)
        params, extra = jax.jit(family.init)(jax.random.key(0), batch)
        sample = jax.jit(family.sample)
        found = sample(params, extra, keys_of(4), {"source": batch["source"]}, {})
        assert found.shape == (4, 8, 8, 3)
    assert family.identity_weight == 0
    assert family.translate_back(params, extra, batch["x"]).shape == (4, 8, 8, 1)


def test_each_part_of_a_picture_is_judged_by_what_is_near():
    module = PatchDiscriminator((4, 4))
    x = jnp.float32(RNG.normal(size=(1, 32, 32, 1)))
    variables = jax.jit(module.init)(jax.random.key(0), x)

    def corner(x):
        return module.apply(variables, x)[0, 0, 0]

    # A normalisation sees the whole picture, so that without one nothing far has a gradient.
    seen = np.abs(jax.jit(jax.grad(corner))(x)[0, ..., 0])
    assert module.apply(variables, x).shape == (1, 8, 8)
    assert seen[:8, :8].mean() > 5 * seen[24:, 24:].mean()


class Add(nn.Module):
    """picture + b."""

    @nn.compact
    def __call__(self, picture, keys=None):
        return picture + self.param("b", nn.initializers.zeros, ())


class Weigh(nn.Module):
    """A logit at each place, which is w times the sum of the channels."""

    @nn.compact
    def __call__(self, x):
        return self.param("w", nn.initializers.ones, ()) * x.sum(-1)


def parts(spec, batch):
    """Source and x in [-1, 1], by numpy."""
    return (np.float64(batch[name]) / 127.5 - 1 for name in ("source", "x"))


def test_the_losses_of_pairs_are_those_of_the_paper():
    spec = spec_of((2, 3, 1))
    family = dataclasses.replace(build(spec), generator=Add(), discriminator=Weigh())
    batch, keys = batch_of(spec), keys_of(4)
    params = {"generator": {"b": jnp.float32(0.3)}, "discriminator": {"w": jnp.float32(0.7)}}
    source, x = parts(spec, batch)
    real, fake = (0.7 * (source + y)[..., 0] for y in (x, source + 0.3))
    found = losses(family, ("discriminator",), params, {}, batch, keys)[0]
    expected = 0.5 * ((real - 1) ** 2 + fake**2).mean()  # Mao et al. 2017, equation 9
    np.testing.assert_allclose(found["discriminator"], expected, rtol=1e-5)
    found = losses(family, ("generator",), params, {}, batch, keys)[0]
    expected = 0.5 * ((fake - 1) ** 2).mean() + 100 * np.abs(x - source - 0.3).mean()
    np.testing.assert_allclose(found["generator"], expected, rtol=1e-5)
    made = family.sample(params, {}, keys, {"source": batch["source"]}, {})
    np.testing.assert_allclose(made, batch["source"] + 0.3 * 127.5, rtol=1e-4, atol=1e-3)


def test_the_losses_of_two_sets_are_those_of_the_paper():
    spec = spec_of((2, 3, 1))
    family = build(spec, method="cyclegan", cycle_weight=10.0, identity_weight=0.5)
    family = dataclasses.replace(family, there=Add(), back=Add(), discriminator=Weigh())
    batch, keys = batch_of(spec), keys_of(4)
    _, extra = family.init(jax.random.key(0), batch)
    params = {
        "generators": {"there": {"b": jnp.float32(0.3)}, "back": {"b": jnp.float32(-0.2)}},
        "discriminators": {"there": {"w": jnp.float32(0.7)}, "back": {"w": jnp.float32(0.4)}},
    }
    source, x = parts(spec, batch)
    logits = {
        "there": [0.7 * y[..., 0] for y in (x, source + 0.3)],
        "back": [0.4 * y[..., 0] for y in (source, x - 0.2)],
    }
    each = {way: LOSSES["least_squares"](*map(jnp.float32, own)) for way, own in logits.items()}
    found, after, _ = losses(family, ("discriminators",), params, extra, batch, keys)
    expected = (each["there"][0] + each["back"][0]) / 2
    np.testing.assert_allclose(found["discriminators"], expected, rtol=1e-5)
    # What was made is kept, for both ways.
    assert after["made"] == 4
    np.testing.assert_allclose(after["pool"]["there"][:4], source + 0.3, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["pool"]["back"][:4], x - 0.2, rtol=1e-4, atol=1e-5)
    assert (after["pool"]["there"][4:] == 0).all()
    found, same, _ = losses(family, ("generators",), params, extra, batch, keys)
    cycle = 2 * abs(0.3 - 0.2)  # there and back, and back and there
    expected = each["there"][1] + each["back"][1] + 10 * (cycle + 0.5 * (0.3 + 0.2))
    np.testing.assert_allclose(found["generators"], expected, rtol=1e-5)
    assert same["made"] == 0


class Scaled(nn.Module):
    """Two layers: the picture and a times it."""

    @nn.compact
    def __call__(self, picture):
        return [picture, picture * self.param("a", nn.initializers.ones, ())]


def _statistics(features):
    return np.stack([features.mean((1, 2)), np.sqrt(features.var((1, 2)) + 1e-5)], 1)


def _restyled(features, style):
    mean, spread = _statistics(features).swapaxes(0, 1)[:, :, None, None]
    return style[:, 1, None, None] * (features - mean) / spread + style[:, 0, None, None]


def test_features_take_the_mean_and_the_spread_of_others():
    content, other = (RNG.normal(size=(3, 5, 4, 2)) * s + s for s in (1.0, 3.0))
    found = style_lib.restyled(jnp.float32(content), style_lib.statistics(jnp.float32(other)))
    np.testing.assert_allclose(_statistics(np.float64(found)), _statistics(other), rtol=1e-3)
    np.testing.assert_allclose(found, _restyled(content, _statistics(other)), rtol=1e-3, atol=1e-3)


def test_the_losses_of_style_are_those_of_the_paper():
    spec = spec_of((3, 4, 1))
    family = build(spec, method="adain", style_weight=7.0)
    family = dataclasses.replace(family, encoder=Scaled(), decoder=Add())
    batch, keys = batch_of(spec), keys_of(4)
    params = {"encoder": {"a": jnp.float32(0.8)}, "decoder": {"b": jnp.float32(0.1)}}
    extra = {"pool": jnp.zeros((6, 2, 1)), "made": jnp.int32(0)}
    source, x = parts(spec, batch)
    known = ((0.8 * np.concatenate([source, x]) + 0.1 - np.concatenate([source, x])) ** 2).mean()
    wanted = _restyled(0.8 * source, _statistics(0.8 * x))
    made = wanted + 0.1
    content = ((0.8 * made - wanted) ** 2).mean()
    style = sum(((_statistics(s * made) - _statistics(s * x)) ** 2).mean() for s in (1.0, 0.8))
    (turn,) = family.turns
    found, after, metrics = losses(family, turn, params, extra, batch, keys)
    np.testing.assert_allclose(found["encoder"], known, rtol=1e-4)
    np.testing.assert_allclose(found["decoder"], known + content + 7 * style, rtol=1e-4)
    np.testing.assert_allclose(metrics["style"], style, rtol=1e-4)
    np.testing.assert_allclose(after["pool"][:4], _statistics(0.8 * x), rtol=1e-4)
    assert after["made"] == 4


def test_a_sample_has_a_style_that_was_seen_and_another_the_one_given():
    spec = spec_of((3, 4, 1))
    family = dataclasses.replace(build(spec, method="adain"), encoder=Scaled(), decoder=Add())
    batch, keys = batch_of(spec, 200), keys_of(200)
    params = {"encoder": {"a": jnp.float32(1.0)}, "decoder": {"b": jnp.float32(0.0)}}
    styles = jnp.float32([[[0.2], [0.1]], [[-0.3], [0.2]], [[9.0], [9.0]]])
    extra = {"pool": styles, "made": jnp.int32(2)}
    family = dataclasses.replace(family, pool_size=3)
    x = family.sample(params, extra, keys, {"source": batch["source"]}, {})
    means = np.float64(spec.center(x)).mean((1, 2, 3))
    near = np.abs(means[:, None] - [0.2, -0.3]) < 0.02
    assert near.any(1).all() and 0.3 < near[:, 0].mean() < 0.7
    x = family.in_style(params, extra, batch["source"][:5], batch["x"][:5])
    source, style = (part[:5] for part in parts(spec, batch))
    expected = _restyled(source, _statistics(style))
    inside = np.abs(expected) < 1
    np.testing.assert_allclose(spec.center(x)[inside], expected[inside], atol=1e-3)


def test_half_of_what_a_discriminator_sees_was_made_earlier():
    spec = spec_of((2, 2, 1))
    family = build(spec, method="cyclegan", pool_size=6)
    fake = jnp.ones((4_000, 2, 2, 1))
    pool = jnp.float32(np.arange(6)).reshape(6, 1, 1, 1) * jnp.ones((6, 2, 2, 1)) + 10
    extra = {"pool": {"there": pool}, "made": jnp.int32(0)}
    seen = family._or_earlier(extra, "there", fake, keys_of(4_000))
    assert (seen == 1).all()  # there is nothing yet
    extra["made"] = jnp.int32(3)
    seen = np.asarray(family._or_earlier(extra, "there", fake, keys_of(4_000)))[:, 0, 0, 0]
    shares = {value: (seen == value).mean() for value in (1, 10, 11, 12)}
    assert sum(shares.values()) == 1
    assert shares[1] == pytest.approx(0.5, abs=0.03)
    assert all(shares[v] == pytest.approx(1 / 6, abs=0.03) for v in (10, 11, 12))


def test_the_oldest_of_the_pool_goes():
    spec = spec_of((2, 2, 1))
    family = build(spec, method="cyclegan", pool_size=6)
    _, extra = family.init(jax.random.key(0), batch_of(spec))
    for turn in range(2):
        made = jnp.full((4, 2, 2, 1), turn + 1.0)

        def remember(made, extra=extra):
            return family._remembered(extra, {"there": made, "back": made})

        extra = jax.vmap(remember, axis_name=parallel.AXIS)(made[None])
        extra = jax.tree.map(lambda x: x[0], extra)
    np.testing.assert_array_equal(extra["pool"]["there"][:, 0, 0, 0], [2, 2, 1, 1, 2, 2])


def test_dropout_is_the_noise_of_a_pairs_samples():
    spec = spec_of((28, 28, 1))
    family, batch = build(spec, dropout=0.5), batch_of(spec)
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape), params)
    condition, sample = {"source": batch["source"]}, jax.jit(family.sample)
    one, same, other = (
        np.asarray(sample(params, extra, keys_of(4, seed), condition, {})) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).mean() > 0.1


@pytest.mark.parametrize("network", [UNet(2, (4, 8, 8)), ResNet(2, (4, 8, 8), 1)])
def test_every_part_of_the_source_is_read(network):
    source = jnp.float32(RNG.normal(size=(1, 16, 16, 1)))
    variables = jax.jit(network.init)(jax.random.key(1), source, None)
    middle = lambda s: network.apply(variables, s, None)[0, 8, 8].sum()  # noqa: E731
    assert (jax.jit(jax.grad(middle))(source) != 0).mean() > 0.9


REFUSED = [
    (DataSpec("bytes", (8, 8, 1), 256), {}, "use --config.data.name=pairs:edges/NAME"),
    (DataSpec("real", (3,)), {}, "it makes pictures of pictures"),
    (spec_of(), {"network": "resnet", "widths": (8,)}, "it halves pictures twice"),
    (spec_of(), {"widths": ()}, "each is a layer"),
    (spec_of((8, 8, 3), (8, 8, 1)), {"method": "adain"}, "one network encodes both"),
    (dataclasses.replace(spec_of(), kind="binary"), {}, "use --config.data.preprocess=bytes"),
]


@pytest.mark.parametrize(("spec", "changes", "told"), REFUSED)
def test_what_does_not_go_together_is_refused(spec, changes, told):
    with pytest.raises(UserError, match=told):
        build(spec, **changes)
