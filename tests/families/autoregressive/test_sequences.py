"""Models of text, music and sound against enumeration, autodiff and their own slow paths."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.autoregressive.family import likely
from gen_jax.families.base import Completer, Continuer, Density, ElementDensity, Sampler

TEXT = DataSpec("tokens", (5,), num_classes=3, vocabulary=("a", "b", "c"), medium="text")
MUSIC = DataSpec("binary", (3, 2), 2, num_classes=3, medium="music", rate=4.0)
SOUND = DataSpec("bytes", (5,), 3, num_classes=3, medium="sound", rate=8_000.0)
LIKELIHOOD = {"text": "categorical", "music": "bernoulli", "sound": "categorical"}
NETWORKS = {
    "transformer": {"network": "transformer", "layers": 2, "heads": 2},
    "window": {"network": "transformer", "layers": 2, "heads": 2, "window": 2},
    "lstm": {"network": "lstm", "layers": 2},
    "gru": {"network": "gru", "layers": 1},
    "wavenet": {"network": "wavenet", "dilations": (1, 2, 4), "skip": 8},
}
CASES = {
    **{f"{network} text": (network, TEXT, {}) for network in NETWORKS},
    "wavenet sound": ("wavenet", SOUND, {}),
    **{
        f"{network} music{joint or ''}": (network, MUSIC, {"joint": joint})
        for network in ("transformer", "gru", "wavenet")
        for joint in (0, 6)
    },
}
OPTIONS = {
    "temperature": 1.0,
    "decoding": "cached",
    "top_k": 0,
    "top_p": 1.0,
    "guidance": 0.0,
    "length": 0,
}


def build(case, **changes):
    """The family and parameters, moved off their start so that nothing is equal by chance."""
    network, spec, more = CASES[case]
    model = families.default_model("autoregressive")
    own = {**NETWORKS[network], **more, "likelihood": LIKELIHOOD[spec.medium], "features": 8}
    model.update({**own, "conditional": True, **changes})
    family = families.build("autoregressive", model, spec)
    batch = batch_of(spec, np.zeros((2, *spec.shape)))
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    moved = [leaf + 0.4 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return family, jax.tree.unflatten(tree, moved), extra


def batch_of(spec, x, label=0, **arrays):
    x = jnp.asarray(x, jnp.int32 if spec.kind == "tokens" else jnp.float32)
    return {"x": x, "label": jnp.full(len(x), label, jnp.int32), **arrays}


def keys_of(num, seed=3):
    return keys_lib.per_example(keys_lib.stream(seed, "x"), jnp.arange(num))


def sample(family, params, extra, keys, condition, **options):
    draw = jax.jit(lambda *args: family.sample(*args, {**OPTIONS, **options}))
    return np.asarray(draw(params, extra, keys, condition))


def states(spec):
    values = range(spec.levels or len(spec.vocabulary))
    every = np.array(list(itertools.product(values, repeat=spec.num_dims)))
    return every.reshape(-1, *spec.shape)


@pytest.mark.parametrize("case", CASES)
def test_probabilities_of_all_sequences_sum_to_one(case):
    family, params, extra = build(case)
    abilities = (Density, ElementDensity, Sampler, Completer, Continuer)
    assert families.has(family, *abilities) and family.given == ("label",)
    x = states(family.spec)
    for label in (0, 2):
        batch = batch_of(family.spec, x, label)
        found = jax.jit(family.log_prob)(params, extra, batch, keys_of(len(x)))
        assert found.kind == "exact"
        assert np.exp(np.float64(found.value)).sum() == pytest.approx(1, abs=1e-5)
        each = jax.jit(family.element_log_probs)(params, extra, batch)
        assert each.shape == (len(x), family.spec.shape[0])
        np.testing.assert_allclose(each.sum(1), found.value, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_an_element_sees_those_before_it_and_what_is_given(case):
    """By changing one element at a time: the elements behind it may change, and no others."""
    family, params, _ = build(case)
    spec = family.spec
    rng = np.random.default_rng(1)
    x = rng.integers(0, spec.levels or len(spec.vocabulary), (200, *spec.shape))
    flat = x.reshape(200, -1)

    @jax.jit
    def compiled(params, batch):
        context = family._context(batch)
        return family._params(params, batch["x"], family.orders.place[0], context)

    def outputs(flat, label=0):
        batch = batch_of(spec, flat.reshape(x.shape), label)
        return np.asarray(compiled(params, batch).reshape(200, spec.num_dims, -1))

    before = outputs(flat)
    # Parts of an element see one another only where it has a joint head.
    size = 1 if family.joint_element or spec.medium != "music" else spec.shape[-1]
    for dim in range(spec.num_dims):
        other = flat.copy()
        other[:, dim] = (other[:, dim] + 1) % (spec.levels or len(spec.vocabulary))
        change = np.abs(outputs(other) - before).max((0, 2)) > 0
        behind = np.arange(spec.num_dims) // size > dim // size
        if case == "window text":  # each of two layers sees one element further
            behind &= np.arange(spec.num_dims) <= dim + 3
        np.testing.assert_array_equal(change, behind)
    assert (np.abs(outputs(flat, 1) - before).max((0, 2)) > 0).all()


@pytest.mark.parametrize("case", CASES)
def test_all_decodings_give_the_same_sample(case):
    family, params, extra = build(case)
    condition = {"label": jnp.arange(64) % 3}
    found = {
        decoding: sample(family, params, extra, keys_of(64), condition, decoding=decoding, length=9)
        for decoding in ("cached", "jacobi", "sequential", "auto")
    }
    for x in found.values():
        np.testing.assert_array_equal(x, found["sequential"])
    x = found["cached"]
    assert x.shape == (64, 9, *family.spec.shape[1:])
    assert len(np.unique(x.reshape(64, -1), axis=0)) > 8
    # A sample does not depend on those beside it.
    few = {"label": condition["label"][5:9]}
    few = sample(family, params, extra, keys_of(64)[5:9], few, length=9)
    np.testing.assert_array_equal(few, x[5:9])


@pytest.mark.parametrize("case", ["transformer text", "gru music6", "wavenet sound"])
def test_samples_are_as_frequent_as_their_probabilities(case):
    family, params, extra = build(case)
    num, x = 20_000, states(family.spec)
    drawn = sample(family, params, extra, keys_of(num), {"label": jnp.ones(num, jnp.int32)})
    base = family.spec.levels or len(family.spec.vocabulary)
    number = drawn.reshape(num, -1) @ base ** np.arange(family.spec.num_dims)[::-1]
    counts = np.bincount(number.astype(int), minlength=len(x))
    batch = batch_of(family.spec, x, 1)
    log_prob = jax.jit(family.log_prob)(params, extra, batch, keys_of(len(x))).value
    expected = num * np.exp(np.float64(log_prob))
    often = expected > 5
    statistic = (np.square(counts - expected) / expected)[often].sum()
    # Six standard deviations of chi-squared above its mean.
    assert statistic < often.sum() + 6 * np.sqrt(2 * often.sum())


@pytest.mark.parametrize("case", ["window text", "lstm text", "transformer music6"])
def test_a_prompt_stays_and_what_follows_is_as_without(case):
    """What is drawn behind a sample's own beginning is the rest of that sample."""
    family, params, extra = build(case)
    condition = {"label": jnp.arange(8) % 3}
    x = sample(family, params, extra, keys_of(8), condition, length=10)
    compiled = jax.jit(
        lambda prompt, length, keys, condition: family.continued(
            params, extra, keys, prompt, length, condition, OPTIONS
        )
    )
    for row in range(3):
        for length in (0, 1, 4, 10):
            filled = np.where(np.arange(10).reshape(-1, *[1] * (x.ndim - 2)) < length, x[row], 0)
            own = {"label": condition["label"][row : row + 1]}
            found = compiled(filled.astype(x.dtype), length, keys_of(8)[row : row + 1], own)
            np.testing.assert_array_equal(found[0], x[row])
    assert compiled._cache_size() == 1  # whatever the length of the prompt


def test_what_is_behind_the_length_counts_nothing():
    family, params, extra = build("gru text")
    x = np.random.default_rng(0).integers(0, 3, (20, 5))
    length = jnp.asarray(np.random.default_rng(1).integers(1, 6, 20))
    behind = np.arange(5) >= np.asarray(length)[:, None]
    other = np.where(behind, (x + 1) % 3, x)
    batches = [batch_of(family.spec, own, length=length) for own in (x, other)]
    log_prob = jax.jit(family.log_prob)
    first, second = (log_prob(params, extra, own, keys_of(20)).value for own in batches)
    np.testing.assert_array_equal(first, second)
    each = np.asarray(jax.jit(family.element_log_probs)(params, extra, batches[0]))
    np.testing.assert_allclose(np.where(behind, 0, each).sum(1), first, atol=1e-5)
    turn = family.turns[0]
    losses = jax.jit(family.losses, static_argnums=0)
    loss, _, metrics = losses(turn, params, extra, batches[1], keys_of(20), jnp.int32(0))
    assert float(loss["autoregressive"]) == pytest.approx(-float(first.mean()) / 5, rel=1e-5)
    assert metrics["nll_per_element"] == loss["autoregressive"]


def test_dropout_is_of_training_alone():
    family, params, extra = build("transformer text", dropout=0.5)
    x = np.random.default_rng(0).integers(0, 3, (20, 5))
    batch = batch_of(family.spec, x)

    losses = jax.jit(family.losses, static_argnums=0)
    log_prob = jax.jit(family.log_prob)

    def loss(seed):
        found, _, _ = losses(family.turns[0], params, extra, batch, keys_of(20, seed), jnp.int32(0))
        return float(found["autoregressive"])

    assert loss(1) == loss(1) != loss(2)
    first, second = (log_prob(params, extra, batch, keys_of(20, seed)).value for seed in (1, 2))
    np.testing.assert_array_equal(first, second)


def test_guidance_moves_logits_away_from_those_without_a_label():
    family, params, extra = build("wavenet text", label_dropout=0.2)
    condition = {"label": jnp.full(4_000, 1)}
    x = sample(family, params, extra, keys_of(4_000), condition, guidance=2.0)
    zeros = jnp.zeros((1, 5), jnp.int32)
    place = family.orders.place[0]
    with_label = family._params(params, zeros, place, jax.nn.one_hot(jnp.array([1]), 3))
    without = family._params(params, zeros, place, jnp.zeros((1, 3)))
    logits = (3 * with_label - 2 * without)[0, 0, 0]
    share = np.bincount(x[:, 0], minlength=3) / 4_000
    np.testing.assert_allclose(share, jax.nn.softmax(logits), atol=0.03)
    few = {"label": condition["label"][:64]}
    slow = sample(family, params, extra, keys_of(64), few, guidance=2.0, decoding="jacobi")
    np.testing.assert_array_equal(slow, x[:64])
    # The label is withheld from about a fifth of the training examples.
    context = family._context(batch_of(family.spec, x[:2_000], 1), keys_of(2_000))
    assert np.mean(context.sum(1) == 0) == pytest.approx(0.2, abs=0.03)


def test_what_is_likely_is_the_fewest_values_with_the_share():
    logits = jnp.log(jnp.array([0.1, 0.4, 0.05, 0.25, 0.2]))

    def kept(top_k, top_p):
        return np.flatnonzero(np.isfinite(likely(logits, top_k, top_p))).tolist()

    assert kept(0, 1.0) == [0, 1, 2, 3, 4]
    assert kept(2, 1.0) == [1, 3]
    assert kept(9, 1.0) == [0, 1, 2, 3, 4]
    assert kept(0, 0.5) == [1, 3]
    assert kept(0, 0.39) == [1]
    assert kept(0, 0.86) == [0, 1, 3, 4]
    # The share is of what the first cut leaves: 0.4 of 0.65.
    assert kept(2, 0.6) == [1]
    assert kept(2, 0.63) == [1, 3]


def test_top_k_and_top_p_bound_what_is_drawn():
    family, params, extra = build("gru text")
    condition = {"label": jnp.zeros(300, jnp.int32)}
    drawn = functools.partial(sample, family, params, extra, keys_of(300), condition)
    greedy = drawn(top_k=1)
    assert len(np.unique(greedy, axis=0)) == 1
    np.testing.assert_array_equal(drawn(temperature=0.0), greedy)
    slow, fast = (
        drawn(top_p=0.7, temperature=0.8, decoding=decoding)
        for decoding in ("sequential", "cached")
    )
    np.testing.assert_array_equal(slow, fast)


def test_bad_choices_are_refused():
    family, params, extra = build("gru music6")
    condition = {"label": jnp.zeros(2, jnp.int32)}
    for options, message in [
        ({"top_k": 3}, "top_k and top_p are of a categorical"),
        ({"guidance": 1.0}, "label_dropout"),
    ]:
        with pytest.raises(UserError, match=message):
            family.sample(params, extra, keys_of(2), condition, {**OPTIONS, **options})
    batch = batch_of(MUSIC, np.zeros((2, 3, 2)))
    with pytest.raises(UserError, match=r"mask has shape \[2, 3\]; it must be that of x"):
        family.complete(params, extra, batch, np.zeros((2, 3)), keys_of(2), OPTIONS)
    for case, changes, message in [
        ("gru text", {"joint": 8}, "music"),
        ("gru text", {"order": "random"}, "order"),
        ("transformer text", {"features": 10, "heads": 4}, "multiple"),
        ("gru text", {"label_dropout": 0.1, "conditional": False}, "conditional"),
    ]:
        with pytest.raises(UserError, match=message):
            build(case, **changes)
    image = DataSpec("binary", (4, 4, 1), 2)
    model = families.default_model("autoregressive")
    model.update({"network": "wavenet"})
    with pytest.raises(UserError, match="sequences"):
        families.build("autoregressive", model, image)


def test_made_has_one_size_and_one_order_of_a_text():
    model = families.default_model("autoregressive")
    model.update({"hidden": (8,), "likelihood": "categorical"})
    family = families.build("autoregressive", model, TEXT)
    batch = batch_of(TEXT, np.zeros((2, 5)))
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    for options, message in [
        ({"decoding": "cached"}, r"remembers nothing: --options\.decoding=jacobi"),
        ({"decoding": "auto", "length": 9}, "have one size"),
    ]:
        with pytest.raises(UserError, match=message):
            family.sample(params, extra, keys_of(2), {}, {**OPTIONS, **options})
    assert sample(family, params, extra, keys_of(2), {}, decoding="auto").shape == (2, 5)
    for changes in ({"order": "reverse"}, {"num_orders": 3}):
        other = families.default_model("autoregressive")
        other.update({"likelihood": "categorical", **changes})
        with pytest.raises(UserError, match="no sequences"):
            families.build("autoregressive", other, TEXT)
