"""The GAN family: what its losses hold, its conditions, packing, networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import sample

from gen_jax import families, keys, parallel
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.adversarial import LOSSES
from gen_jax.families.gan.penalties import PENALTIES

PLANE = DataSpec("real", (2,), num_classes=3)
BATCH = 6


def build(spec=PLANE, **changes):
    model = families.default_model("gan")
    model.update(network="mlp", latent_dim=3, generator_widths=(8,), discriminator_widths=(8, 8))
    model.update(**changes)
    return families.build("gan", model, spec)


def batch(spec=PLANE, size=BATCH):
    rng = np.random.default_rng(0)
    x = (
        rng.normal(size=(size, *spec.shape))
        if spec.kind == "real"
        else rng.integers(0, spec.levels, (size, *spec.shape))
    )
    label = np.arange(size) % max(spec.num_classes, 1)
    return {"x": jnp.float32(x), "label": jnp.int32(label)}


def initial(family, spec=PLANE, size=BATCH):
    params, extra = family.init(jax.random.key(0), batch(spec, size))
    # Away from the start, where zero-initialised layers would hide mistakes.
    leaves, tree = jax.tree.flatten(params)
    noise = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, noise, strict=True)]
    return jax.tree.unflatten(tree, moved), extra


@functools.partial(jax.jit, static_argnums=(0, 4))
def losses(family, params, extra, given, turn, step=0):
    """As within a step: under the axis over devices, of which there is one."""
    each = keys.per_example(keys.stream(0, "test"), jnp.arange(len(given["x"])))

    def run(given, each):
        return family.losses(turn, params, extra, given, each, jnp.int32(step))

    mapped = jax.vmap(run, axis_name=parallel.AXIS)
    return jax.tree.map(lambda x: x[0], mapped(*jax.tree.map(lambda x: x[None], (given, each))))


BOTH = ("generator", "discriminator")


@pytest.mark.parametrize("penalty", sorted(set(PENALTIES) - {"none"}))
@pytest.mark.parametrize("loss", ["relativistic", "wasserstein"])
def test_the_penalty_is_in_the_discriminators_loss_and_in_no_other(loss, penalty):
    weight = 3.0
    family = build(loss=loss, penalty=penalty, penalty_weight=(weight, weight))
    plain = build(loss=loss, penalty="none")
    params, extra = initial(family)
    values, _, metrics = losses(family, params, extra, batch(), BOTH)
    without, _, _ = losses(plain, params, extra, batch(), BOTH)
    assert metrics["penalty"] > 1e-3
    added = values["discriminator"] - without["discriminator"]
    np.testing.assert_allclose(added, weight * metrics["penalty"], rtol=1e-4)
    np.testing.assert_allclose(values["generator"], without["generator"], rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_those_of_the_logits(loss):
    family = build(loss=loss, penalty="none")
    params, extra = initial(family)
    given = batch()
    values, _, metrics = losses(family, params, extra, given, BOTH)
    each = keys.per_example(keys.stream(0, "test"), jnp.arange(BATCH))
    z = keys.normal(keys.named(each, "latents"), (3,))
    fake = family.generator.apply({"params": params["generator"]}, z, jnp.zeros((BATCH, 0)))
    real_logits = family.discriminate(params, extra, given)
    fake_logits = family.discriminate(params, extra, {"x": fake, "label": given["label"]})
    expected = LOSSES[loss](real_logits, fake_logits)
    np.testing.assert_allclose(values["discriminator"], expected[0], rtol=1e-5)
    np.testing.assert_allclose(values["generator"], expected[1], rtol=1e-5)
    np.testing.assert_allclose(metrics["margin"], (real_logits - fake_logits).mean(), rtol=1e-4)


def test_one_turn_gives_what_two_turns_give():
    family = build(penalty="r1_r2")
    params, extra = initial(family)
    together, _, _ = losses(family, params, extra, batch(), BOTH)
    for name in BOTH:
        alone, _, _ = losses(family, params, extra, batch(), (name,))
        assert list(alone) == [name]
        np.testing.assert_allclose(alone[name], together[name], rtol=1e-5)


def test_the_generators_turn_leaves_the_real_examples_out_where_its_loss_does():
    def operations(loss):
        family = build(loss=loss, discriminator_widths=(64, 64))
        params, extra = initial(family)
        run = jax.jit(lambda given: losses(family, params, extra, given, ("generator",))[0])
        return run.lower(batch()).compile().cost_analysis()["flops"]

    assert operations("non_saturating") < 0.7 * operations("relativistic")


def test_penalty_weight_burns_in():
    family = build(penalty="r1", penalty_weight=(4.0, 1.0), burn_in_steps=10)
    params, extra = initial(family)
    found = []
    for step in (0, 5, 10, 99):
        values, _, metrics = losses(family, params, extra, batch(), BOTH, step)
        plain, _, _ = losses(build(penalty="none"), params, extra, batch(), BOTH, step)
        added = values["discriminator"] - plain["discriminator"]
        found.append(added / metrics["penalty"])
    np.testing.assert_allclose(found, [4.0, 2.5, 1.0, 1.0], rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "turns"),
    [
        ({"simultaneous": True}, (BOTH,)),
        ({}, (("discriminator",), ("generator",))),
        ({"discriminator_updates": 3}, (("discriminator",),) * 3 + (("generator",),)),
        ({"generator_updates": 2}, (("discriminator",), ("generator",), ("generator",))),
    ],
)
def test_turns(changes, turns):
    assert build(**changes).turns == turns


def test_a_packed_discriminator_sees_neighbours_side_by_side():
    spec = DataSpec("real", (4, 4, 3))
    family = build(spec, pack=2, penalty="r1_r2")
    params, extra = initial(family, spec)
    given = batch(spec)
    x = np.asarray(given["x"])
    packed = np.asarray(family._packed(given["x"]))
    assert packed.shape == (3, 4, 4, 6)
    np.testing.assert_array_equal(packed[1], np.concatenate([x[2], x[3]], -1))
    assert family.discriminate(params, extra, given).shape == (3,)
    values, _, _ = losses(family, params, extra, given, BOTH)
    assert all(np.isfinite(value) for value in values.values())
    with pytest.raises(UserError, match=r"is 5 examples, which model\.pack=2 does not divide"):
        losses(family, params, extra, batch(spec, 5), BOTH)


CONDITIONS = [
    ("concat", "concat"),
    ("concat", "projection"),
    ("norm", "projection"),
    ("norm", "auxiliary"),
]


@pytest.mark.parametrize(("of_generator", "of_discriminator"), CONDITIONS)
def test_both_players_use_the_label(of_generator, of_discriminator):
    spec = DataSpec("bytes", (8, 8, 1), levels=17, num_classes=3)
    family = build(
        spec,
        network="dcgan",
        generator_norm="batch",
        generator_condition=of_generator,
        discriminator_condition=of_discriminator,
    )
    params, extra = initial(family, spec)
    given = batch(spec)
    key = jax.random.key(3)
    one, two = (sample(family, params, extra, key, 2, jnp.full(2, label)) for label in (0, 1))
    assert one.shape == (2, 8, 8, 1) and (one != two).any()
    other = given | {"label": (given["label"] + 1) % 3}
    values, _, metrics = losses(family, params, extra, given, BOTH)
    changed, _, _ = losses(family, params, extra, other, BOTH)
    assert values["discriminator"] != changed["discriminator"]
    assert ("label_loss/real" in metrics) == (of_discriminator == "auxiliary")


def test_both_players_of_an_auxiliary_classifier_learn_both_labels():
    """Odena et al. 2017: L_C is of real and of generated examples, and both maximise it."""
    conditions = {"generator_condition": "concat"}
    family = build(**conditions, discriminator_condition="auxiliary", penalty="none")
    params, extra = initial(family)
    hinge, wasserstein = (dataclasses.replace(family, loss=n) for n in ("hinge", "wasserstein"))
    values, _, metrics = losses(hinge, params, extra, batch(), BOTH)
    of_both = metrics["label_loss/real"] + metrics["label_loss/fake"]
    # The rest of these losses is known from the mean logits alone.
    assert values["generator"] + metrics["logits/fake"] == pytest.approx(
        float(metrics["label_loss/fake"]), rel=1e-4
    )
    bare, _, _ = losses(wasserstein, params, extra, batch(), BOTH)
    assert bare["discriminator"] + metrics["margin"] == pytest.approx(float(of_both), rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "shift", "part"),
    [
        ("non_saturating", 12.0, 1.0),  # the discriminator takes all samples for real
        ("non_saturating", -12.0, 0.0),
        ("minimax", -12.0, 1.0),  # and for generated, which is what the other loss is for
        ("minimax", 12.0, 0.0),
        ("relativistic", 12.0, 0.0),  # a shift of all logits changes nothing
        ("relativistic", -12.0, 0.0),
        ("wasserstein", 12.0, 0.0),
        ("hinge", -12.0, 0.0),
    ],
)
def test_the_generator_learns_nothing_where_its_loss_is_flat(loss, shift, part):
    family = build(loss=loss, penalty="none")
    params, extra = initial(family)
    output = params["discriminator"]["output"]
    output = {"kernel": output["kernel"] * 0.01, "bias": output["bias"] + shift}
    params = params | {"discriminator": params["discriminator"] | {"output": output}}
    assert losses(family, params, extra, batch(), BOTH)[2]["saturated"] == part


def test_projection_is_the_product_of_label_and_features():
    family = build(generator_condition="concat", discriminator_condition="projection")
    params, extra = initial(family)
    given = batch()
    whole = family.discriminate(params, extra, given)
    zeroed = params["discriminator"] | {"embed": {"kernel": jnp.zeros((3, 8))}}
    plain = family.discriminate(params | {"discriminator": zeroed}, extra, given)
    network = params["discriminator"]["MLPDiscriminator_0"]
    h = np.asarray(given["x"])
    for layer in ("Dense_0", "Dense_1"):
        h = h @ np.asarray(network[layer]["kernel"]) + np.asarray(network[layer]["bias"])
        h = np.where(h > 0, h, 0.2 * h)
    embedded = np.asarray(params["discriminator"]["embed"]["kernel"])[np.asarray(given["label"])]
    np.testing.assert_allclose(whole - plain, (embedded * h).sum(-1), rtol=1e-4, atol=1e-5)


def test_spectral_norm_finds_the_largest_singular_value():
    family = build(spectral_norm=True, penalty="none", loss="hinge")
    params, extra = initial(family)
    given = batch()
    for _ in range(60):
        _, extra, _ = losses(family, params, extra, given, BOTH)
    stats = jax.tree_util.tree_leaves_with_path(extra["discriminator"])
    sigmas = [float(leaf) for path, leaf in stats if "sigma" in jax.tree_util.keystr(path)]
    kernels = [
        np.linalg.norm(leaf, 2)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params["discriminator"])
        if leaf.ndim == 2
    ]
    np.testing.assert_allclose(sorted(sigmas), sorted(kernels), rtol=1e-3)
    _, of_generator, _ = losses(family, params, extra, given, ("generator",))
    jax.tree.map(np.testing.assert_array_equal, of_generator, extra)


def test_batch_norm_trains_on_the_batch_and_samples_with_averages():
    spec = DataSpec("bytes", (8, 8, 1), levels=17)
    family = build(spec, network="dcgan", generator_norm="batch")
    params, extra = initial(family, spec)
    _, moved, _ = losses(family, params, extra, batch(spec), ("generator",))
    _, still, _ = losses(family, params, extra, batch(spec), ("discriminator",))
    jax.tree.map(np.testing.assert_array_equal, still, extra)
    differs = jax.tree.map(lambda a, b: bool((a != b).any()), moved, extra)
    assert any(jax.tree.leaves(differs))
    key = jax.random.key(0)
    alone = sample(family, params, moved, key, 1)
    among = sample(family, params, moved, key, 5)
    np.testing.assert_allclose(alone[0], among[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", ["infogan", "dcgan", "resnet"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 20, 3)])
def test_sizes_come_from_the_data(network, shape):
    spec = DataSpec("bytes", shape, levels=256)
    widths = {"generator_widths": (4, 6, 8), "discriminator_widths": (4, 6, 8)}
    family = build(spec, network=network, **widths)
    params, extra = jax.eval_shape(family.init, jax.random.key(0), batch(spec))
    x = jax.eval_shape(lambda p, e: sample(family, p, e, jax.random.key(0), 3), params, extra)
    assert x.shape == (3, *shape)
    logits = jax.eval_shape(family.discriminate, params, extra, batch(spec))
    assert logits.shape == (BATCH,)


def test_the_residual_networks_start_as_linear_maps():
    """Fix-up: a block whose last kernel is zero is the identity."""
    spec = DataSpec("bytes", (8, 8, 1), levels=256)
    family = build(spec, network="resnet", generator_widths=(4, 4), discriminator_widths=(4, 4))
    params, _ = family.init(jax.random.key(0), batch(spec))
    z = jnp.float32(np.random.default_rng(0).normal(size=(2, 3)))
    none = jnp.zeros((2, 0))
    apply = lambda z: family.generator.apply({"params": params["generator"]}, z, none)  # noqa: E731
    zero = apply(jnp.zeros_like(z))
    np.testing.assert_allclose(apply(2 * z) - zero, 2 * (apply(z) - zero), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["translation", "cutout", "color", "flip"])
def test_augmentation_reaches_the_discriminator_alone(name):
    spec = DataSpec("bytes", (8, 8, 1), levels=256)
    plain = build(
        spec, network="infogan", generator_widths=(4, 4, 8), discriminator_widths=(4, 4, 8)
    )
    family = dataclasses.replace(plain, augmentations=(name,))
    params, extra = initial(plain, spec)
    values, _, _ = losses(plain, params, extra, batch(spec), BOTH)
    changed, _, _ = losses(family, params, extra, batch(spec), BOTH)
    assert values["discriminator"] != changed["discriminator"]
    never = dataclasses.replace(family, augment_probability=(0.0, 0.0))
    same, _, _ = losses(never, params, extra, batch(spec), BOTH)
    np.testing.assert_allclose(same["discriminator"], values["discriminator"], rtol=1e-6)


REFUSED = [
    ({"loss": "x"}, r"unknown model\.loss 'x'; valid are: non_saturating"),
    ({"network": "dcgan"}, r"needs images .*; use --config\.model\.network=mlp"),
    ({"augmentations": ("translation",)}, r"needs images"),
    ({"generator_condition": "concat"}, r"needs both"),
    (
        {"generator_condition": "norm", "discriminator_condition": "concat"},
        r"use --config\.model\.generator_norm=batch",
    ),
    (
        {"generator_condition": "concat", "discriminator_condition": "concat", "pack": 2},
        r"use --config\.model\.pack=1",
    ),
    ({"penalty_weight": (1.0,)}, r"is a pair"),
    ({"discriminator_updates": 0}, r"must be at least 1"),
    ({"simultaneous": True, "discriminator_updates": 5}, r"discriminator_updates=1"),
]
IMAGES = [
    (
        (8, 8, 1),
        {"network": "infogan", "generator_widths": (4, 4)},
        r"generator_widths=\"\(64, 128",
    ),
    (
        (8, 8, 1),
        {"network": "dcgan", "discriminator_widths": ()},
        r"discriminator_widths=\"\(64, 128, 256\)",
    ),
    ((4, 4, 1), {"network": "dcgan"}, r"use --config\.model\.network=resnet"),
    ((64, 3, 1), {"network": "dcgan"}, r"the data are bytes of shape \[64, 3, 1\]"),
    ((8, 8, 1), {"network": "resnet", "generator_norm": "batch"}, r"generator_norm=none"),
    ((8, 8, 1), {"network": "resnet", "spectral_norm": True}, r"penalty=r1_r2"),
]


@pytest.mark.parametrize(("shape", "changes", "message"), IMAGES)
def test_networks_that_the_images_do_not_suit_are_refused(shape, changes, message):
    with pytest.raises(UserError, match=message):
        build(DataSpec("bytes", shape, levels=17), **changes)


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(**changes)


def test_binary_data_are_refused():
    with pytest.raises(UserError, match="needs data with gradients"):
        build(DataSpec("binary", (8, 8, 1), levels=17))
