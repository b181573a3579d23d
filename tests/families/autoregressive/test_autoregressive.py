"""Autoregressive models against enumeration, autodiff and one another."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import masks
from gen_jax.families.base import Completer, Density, RestDensity, Sampler

SHAPE = (3, 2, 1)
NETWORKS = {
    "made": {"network": "made", "hidden": (12, 20)},
    "reverse": {"network": "made", "hidden": (12,), "order": "reverse"},
    "orders": {"network": "made", "hidden": (12, 9), "num_orders": 3},
    "quadrants": {"network": "made", "hidden": (12,), "order": "quadrants"},
    "linear": {"network": "made", "hidden": ()},
    "row_lstm": {"network": "row_lstm", "features": 6, "layers": 2},
    "diagonal_bilstm": {"network": "diagonal_bilstm", "features": 6, "layers": 2},
    "pixelsnail": {"network": "pixelsnail", "features": 8, "layers": 2, "heads": 2},
    "transformer": {"network": "transformer", "features": 8, "layers": 2, "heads": 2},
    "pixelcnn": {"network": "pixelcnn", "features": 4, "dilations": (1, 2), "first_kernel": 5},
}
HEADS = {
    "bernoulli": DataSpec("binary", SHAPE, 2, num_classes=3),
    "categorical": DataSpec("bytes", SHAPE, 3, num_classes=3),
    "discretized_logistic": DataSpec("bytes", SHAPE, 3, num_classes=3),
    "discretized_logistic_mixture": DataSpec("bytes", SHAPE, 3, num_classes=3),
}
# Every network, and every likelihood of those that differ in how they use it.
PAIRS = [
    *((network, "bernoulli") for network in NETWORKS),
    *((network, head) for network in ("made", "orders", "pixelcnn") for head in HEADS),
    *((network, "categorical") for network in ("transformer", "row_lstm", "pixelsnail")),
]
OPTIONS = {"temperature": 1.0, "decoding": "sequential"}
EMBEDDED = ("transformer", "pixelsnail")  # networks that have a vector for each value


def build(network, spec, **changes):
    """The family and parameters, moved off their start so that nothing is equal by chance."""
    model = families.default_model("autoregressive")
    model.update({**NETWORKS[network], **changes})
    family = families.build("autoregressive", model, spec)
    batch = {"x": jnp.zeros((2, *spec.shape)), "label": jnp.zeros(2, jnp.int32)}
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    moved = [leaf + 0.5 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return family, jax.tree.unflatten(tree, moved), extra


def log_prob(family, params, extra, x, label=0):
    batch = {"x": jnp.asarray(x), "label": jnp.full(len(x), label, jnp.int32)}
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(len(x)))
    return jax.jit(family.log_prob)(params, extra, batch, keys)


def sample(family, params, extra, keys, condition, **options):
    draw = jax.jit(lambda *args: family.sample(*args, {**OPTIONS, **options}))
    return np.asarray(draw(params, extra, keys, condition))


def states(spec):
    values = itertools.product(range(spec.levels), repeat=spec.num_dims)
    return np.array(list(values), np.float32).reshape(-1, *spec.shape)


@pytest.mark.parametrize(("network", "head"), dict.fromkeys(PAIRS))
def test_probabilities_of_all_states_sum_to_one(network, head):
    spec = HEADS[head]
    family, params, extra = build(network, spec, likelihood=head, conditional=True)
    assert families.has(family, Density, RestDensity, Sampler, Completer) and family.given == (
        "label",
    )
    for label in (0, 2):
        found = log_prob(family, params, extra, states(spec), label)
        assert found.kind == "exact" and found.stderr is None
        assert np.exp(np.float64(found.value)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in EMBEDDED])
def test_an_output_sees_what_comes_before_it_and_nothing_else(network):
    """By autodiff; within the windows of convolutions, which here are the whole image."""
    spec = DataSpec("binary", (4, 4, 1), 2, num_classes=3)
    family, params, _ = build(network, spec, conditional=True)
    place = family.orders.place[0]

    def outputs(x, context):
        return family.network.apply(
            {"params": params["autoregressive"]}, x[None], jnp.asarray(place), context[None]
        ).reshape(spec.num_dims)

    # Of several inputs, as a rectifier may be off at one.
    x = jnp.float32(np.random.default_rng(1).normal(size=(30, *spec.shape)))
    context = jnp.float32(np.random.default_rng(2).normal(size=(30, 3)))
    slopes = jax.jit(jax.vmap(jax.jacobian(outputs, (0, 1))))(x, context)
    jacobian, of_context = (np.abs(slope).max(0) for slope in slopes)
    jacobian = jacobian.reshape(spec.num_dims, spec.num_dims)
    before = place[None] < place[:, None]
    assert (jacobian[~before] == 0).all() and (jacobian[before] > 0).all()
    if network != "linear":  # which has no layer to be given it
        assert (of_context.max(1) > 0).all()


@pytest.mark.parametrize("network", EMBEDDED)
def test_a_pixel_with_a_vector_for_each_value_sees_those_before_it(network):
    """By changing one pixel at a time."""
    spec = DataSpec("binary", (4, 4, 1), 2, num_classes=3)
    family, params, _ = build(network, spec, conditional=True)
    x = np.random.default_rng(1).integers(0, 2, (100, 16))
    apply = jax.jit(
        lambda x, label: family.network.apply(
            {"params": params["autoregressive"]}, x, None, jax.nn.one_hot(label, 3)
        ).reshape(100, 16)
    )

    def outputs(x, label=0):
        return np.asarray(apply(jnp.float32(x).reshape(-1, *spec.shape), jnp.full(100, label)))

    before = outputs(x)
    for pixel in range(16):
        other = x.copy()
        other[:, pixel] = 1 - other[:, pixel]
        change = np.abs(outputs(other) - before).max(0) > 0
        np.testing.assert_array_equal(change, np.arange(16) > pixel)
    assert (np.abs(outputs(x, 2) - before).max(0) > 0).all()


def test_the_pixelcnn_has_no_blind_spot():
    """Everything above is seen as far as the layers reach, the pixels above right included."""
    spec = DataSpec("binary", (13, 13, 1), 2)
    family, params, _ = build("pixelcnn", spec, dilations=(1, 1, 1), first_kernel=3)

    def output(x):
        outputs = family.network.apply({"params": params["autoregressive"]}, x[None], None, None)
        return outputs[0, 7, 6, 0, 0]

    x = jnp.float32(np.random.default_rng(1).normal(size=(30, *spec.shape)))
    seen = np.abs(jax.jit(jax.vmap(jax.grad(output)))(x)).max(0)[..., 0] > 0
    rows, columns = np.mgrid[:13, :13]
    # Each of the four windows reaches one row up and one column to each side, after a first step.
    above = (rows >= 2) & (rows < 7) & (abs(columns - 6) <= 4)
    left = (rows == 7) & (columns >= 1) & (columns < 6)
    np.testing.assert_array_equal(seen, above | left)


@pytest.mark.parametrize(("network", "head"), dict.fromkeys(PAIRS))
def test_all_decodings_give_the_same_sample(network, head):
    spec = HEADS[head]
    family, params, extra = build(network, spec, likelihood=head, conditional=True)
    keys = keys_lib.per_example(keys_lib.stream(3, "x"), jnp.arange(64))
    condition = {"label": jnp.arange(64) % 3}
    first, *others = (
        sample(family, params, extra, keys, condition, decoding=decoding)
        for decoding in ("sequential", "jacobi", "auto")  # cached, where the network remembers
    )
    for other in others:
        np.testing.assert_array_equal(first, other)
    assert len(np.unique(first.reshape(64, -1), axis=0)) > 3
    # A sample does not depend on those beside it.
    few = sample(family, params, extra, keys[5:9], {"label": condition["label"][5:9]})
    np.testing.assert_array_equal(few, first[5:9])


@pytest.mark.parametrize("network", ["made", "orders", "pixelcnn"])
def test_samples_are_as_frequent_as_their_probabilities(network):
    spec = DataSpec("binary", (2, 2, 1), 2)
    family, params, extra = build(network, spec)
    num = 20_000
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(num))
    x = sample(family, params, extra, keys, {})
    number = x.reshape(num, -1) @ np.array([8, 4, 2, 1])
    counts = np.bincount(number.astype(int), minlength=16)
    expected = num * np.exp(np.float64(log_prob(family, params, extra, states(spec)).value))
    # Chi-squared of 15 degrees of freedom: above 37.7 once in a thousand.
    assert (np.square(counts - expected) / expected).sum() < 37.7


def test_a_mixture_of_orders_is_the_mean_of_their_probabilities():
    spec = HEADS["bernoulli"]
    family, params, extra = build("orders", spec)
    x = states(spec)
    each = []
    for place in family.orders.place:
        logits = family.network.apply(
            {"params": params["autoregressive"]}, jnp.asarray(x), jnp.asarray(place), None
        )[..., 0]
        p = 1 / (1 + np.exp(-np.float64(logits)))
        flat = x.reshape(len(x), -1)
        each.append(np.where(flat == 1, p, 1 - p).prod(1))
    found = np.exp(np.float64(log_prob(family, params, extra, x).value))
    np.testing.assert_allclose(found, np.mean(each, 0), rtol=1e-4)
    assert np.std(each, 0).max() > 1e-3
    assert [sorted(place) for place in family.orders.place.tolist()] == [list(range(6))] * 3


def test_jacobi_asks_the_network_less_often():
    spec = DataSpec("binary", (8, 8, 1), 2)
    family, params, _ = build("made", spec, hidden=(64,))
    params = jax.tree.map(lambda leaf: 0.1 * leaf, params)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(8))
    calls = {
        decoding: int(family.network_calls(params, keys, {}, {**OPTIONS, "decoding": decoding}))
        for decoding in ("sequential", "jacobi")
    }
    assert calls["sequential"] == 64 and calls["jacobi"] < 20


@pytest.mark.parametrize("network", ["made", "reverse", "orders", "pixelcnn"])
def test_completions_have_the_exact_conditional(network):
    """Of the second half given the first of the order: by Bayes' rule over all states."""
    spec = DataSpec("binary", (2, 2, 1), 2)
    family, params, extra = build(network, spec)
    known = np.zeros(4, bool)
    known[[0, 1] if network != "reverse" else [2, 3]] = True
    x = np.array([1.0, 0.0, 1.0, 0.0]) * known
    num = 20_000
    batch = {
        "x": jnp.float32(np.broadcast_to(x.reshape(spec.shape), (num, *spec.shape))),
        "label": jnp.zeros(num, jnp.int32),
    }
    mask = np.broadcast_to(known.reshape(spec.shape), (num, *spec.shape))
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(num))
    complete = jax.jit(lambda batch: family.complete(params, extra, batch, mask, keys, OPTIONS))
    done = np.asarray(complete(batch)).reshape(num, -1)
    np.testing.assert_array_equal(done[:, known], np.broadcast_to(x[known], (num, 2)))
    if network == "orders":
        return  # it completes in one of its orders, and the mixture has another conditional
    every = states(spec).reshape(16, 4)
    fits = (every[:, known] == x[known]).all(1)
    p = np.exp(np.float64(log_prob(family, params, extra, states(spec)).value)) * fits
    expected = num * p[fits] / p.sum()
    rest = every[fits][:, ~known] @ np.array([2, 1])
    counts = np.bincount((done[:, ~known] @ np.array([2, 1])).astype(int), minlength=4)
    difference = counts - expected[np.argsort(rest)]
    assert (np.square(difference) / expected[np.argsort(rest)]).sum() < 16.3  # one in a thousand


@pytest.mark.parametrize("mask", ["one_quadrant", "two_quadrants", "three_quadrants"])
@pytest.mark.parametrize("shape", [(4, 2, 1), (3, 3, 1), (2, 2, 2)])
def test_quadrants_have_the_exact_conditional(mask, shape):
    """Of all that is not known, by Bayes' rule over all states of it."""
    spec = DataSpec("binary", shape, 2)
    family, params, extra = build("quadrants", spec)
    known = np.broadcast_to(masks.KNOWN[mask](shape[:2])[..., None], shape)
    x = np.random.default_rng(1).integers(0, 2, (3, *shape)).astype(np.float32)
    batch = {"x": jnp.asarray(x), "label": jnp.zeros(3, jnp.int32)}
    found = family.log_prob_of_rest(params, extra, batch, known, None)
    assert found.kind == "exact" and found.stderr is None
    every = np.array(list(itertools.product([0, 1], repeat=int((~known).sum()))), np.float32)
    for one, value in zip(x, found.value, strict=True):
        filled = np.broadcast_to(one, (len(every), *shape)).copy()
        filled[:, ~known] = every
        log_p = np.float64(log_prob(family, params, extra, filled).value)
        own = (filled == one).reshape(len(every), -1).all(1)
        assert value == pytest.approx((log_p[own] - np.logaddexp.reduce(log_p))[0], abs=1e-4)


def test_rests_of_which_nothing_is_known_exactly_are_refused():
    spec = DataSpec("binary", (2, 2, 1), 2)
    batch = {"x": jnp.ones((1, *spec.shape)), "label": jnp.zeros(1, jnp.int32)}
    known = np.array([True, True, False, False]).reshape(spec.shape)
    family, params, extra = build("quadrants", spec)
    with pytest.raises(UserError, match="known part comes first"):
        family.log_prob_of_rest(params, extra, batch, known, None)
    family, params, extra = build("orders", spec)
    with pytest.raises(UserError, match=r"--config\.model\.num_orders=1"):
        family.log_prob_of_rest(params, extra, batch, known, None)


def test_a_mask_that_no_order_begins_with_is_refused():
    spec = DataSpec("binary", (2, 2, 1), 2)
    family, params, extra = build("made", spec)
    mask = np.array([0, 1, 0, 0]).reshape(1, *spec.shape)
    batch = {"x": jnp.ones((1, *spec.shape)), "label": jnp.zeros(1, jnp.int32)}
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(1))
    with pytest.raises(UserError, match=r"known part comes first.*--config\.model\.order"):
        family.complete(params, extra, batch, mask, keys, OPTIONS)


@pytest.mark.parametrize(
    ("changes", "spec", "message"),
    [
        ({"network": "pixelcnn"}, DataSpec("real", (2,)), "needs images"),
        ({"network": "pixelcnn", "order": "random"}, HEADS["bernoulli"], "order=raster"),
        ({"network": "pixelcnn", "num_orders": 2}, HEADS["bernoulli"], "num_orders=1"),
        ({"order": "quadrants"}, DataSpec("binary", (6,), 2), "needs images"),
        ({"conditional": True}, DataSpec("binary", SHAPE, 2), "needs labels"),
        ({"likelihood": "bernoulli"}, HEADS["categorical"], "is not of bytes data"),
        ({"network": "perceptron"}, HEADS["bernoulli"], "network"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, spec, message):
    model = families.default_model("autoregressive")
    model.update(changes)
    with pytest.raises(UserError, match=message):
        families.build("autoregressive", model, spec)
