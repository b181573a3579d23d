"""Hidden elements of distributions that are known, by enumeration."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Completer, Density, RestDensity, Sampler, SteppedBound
from gen_jax.families.diffusion.absorbing import AbsorbingDiffusion

OPTIONS = {"steps": 200, "guidance": 1.0}
SPEC = DataSpec("tokens", (2,), vocabulary=("a", "b", "c"), medium="text")
RNG = np.random.default_rng(0)
JOINT = RNG.dirichlet(np.full(9, 0.7)).reshape(3, 3)  # p(x1, x2), far from independent


@dataclasses.dataclass(frozen=True)
class Exact:
    """The conditionals of `JOINT` given what is seen, as logits."""

    def apply(self, variables, seen, log_ratio, context):
        one, two = seen[:, 0], seen[:, 1]  # [B, 4], the last number: hidden
        joint = jnp.log(jnp.float32(JOINT))
        known = lambda v: jnp.where(v[:, 3:] > 0, 0.0, jnp.log(v[:, :3] + 1e-30))  # noqa: E731
        first = jax.nn.logsumexp(joint + known(two)[:, None], 2)
        second = jax.nn.logsumexp(joint + known(one)[:, :, None], 1)
        return jnp.stack([first, second], 1)


FAMILY = AbsorbingDiffusion(SPEC, Exact())
PARAMS = {"denoiser": {}}
ALL = np.array(list(itertools.product(range(3), repeat=2)))


def keys_of(num):
    return keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(num))


def by_hand(x, steps):
    """The bound of one x: every set of hidden elements at every time, with its probability."""
    first, second = JOINT.sum(1), JOINT.sum(0)
    both = -np.log(first[x[0]]) - np.log(second[x[1]])
    alone = [-np.log(JOINT[tuple(x)] / second[x[1]]), -np.log(JOINT[tuple(x)] / first[x[0]])]
    total = 0.0
    for number in range(1, steps + 1):
        t = number / steps
        total += (t * t * both + t * (1 - t) * sum(alone)) / number
    return -total


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_the_bound_is_that_of_every_hidden_set(steps):
    num = 4_000
    bound = jax.jit(lambda x, keys: FAMILY.bound(PARAMS, {}, {"x": x}, keys, steps))
    for x in ALL[[0, 4, 7]]:
        found = np.asarray(bound(jnp.tile(jnp.int32(x), (num, 1)), keys_of(num)))
        error = float(found.std()) / num**0.5
        assert found.mean() == pytest.approx(by_hand(x, steps), abs=4 * error + 1e-4)


def test_more_steps_are_nearer_to_the_likelihood_and_never_above():
    exact = np.log(JOINT[tuple(ALL.T)]) @ JOINT.reshape(-1)
    bounds = [by_hand_mean(steps) for steps in (1, 3, 50, 1_000)]
    assert (np.diff(bounds) > 0).all() and bounds[-1] < exact + 1e-9
    assert bounds[-1] == pytest.approx(exact, abs=2e-3)


def by_hand_mean(steps):
    return sum(JOINT[tuple(x)] * by_hand(x, steps) for x in ALL)


def test_training_minimises_the_bound_of_infinitely_many_steps():
    num, x = 40_000, ALL[3]
    batch = {"x": jnp.tile(jnp.int32(x), (num, 1))}
    _, _, metrics = FAMILY.losses(("denoiser",), PARAMS, {}, batch, keys_of(num), 0)
    assert float(metrics["nll_bound"]) == pytest.approx(-by_hand(x, 5_000), rel=0.05)


def test_samples_have_the_joint_distribution():
    draw = lambda steps: np.asarray(  # noqa: E731
        FAMILY.sample(PARAMS, {}, keys_of(20_000), {}, {**OPTIONS, "steps": steps})
    )
    many, once = draw(200), draw(1)
    assert many.dtype == np.int32
    counts = lambda x: np.bincount(3 * x[:, 0] + x[:, 1], minlength=9) / len(x)  # noqa: E731
    np.testing.assert_allclose(counts(many), JOINT.reshape(-1), atol=0.015)
    # All at once, elements do not know of one another.
    apart = np.outer(JOINT.sum(1), JOINT.sum(0)).reshape(-1)
    np.testing.assert_allclose(counts(once), apart, atol=0.015)


def test_completions_are_conditionals_of_whatever_is_known():
    x = jnp.tile(jnp.int32([0, 2]), (20_000, 1))
    mask = jnp.tile(jnp.array([False, True]), (20_000, 1))
    found = np.asarray(FAMILY.complete(PARAMS, {}, {"x": x}, mask, keys_of(20_000), OPTIONS))
    assert (found[:, 1] == 2).all()
    share = np.bincount(found[:, 0], minlength=3) / len(found)
    np.testing.assert_allclose(share, JOINT[:, 2] / JOINT[:, 2].sum(), atol=0.015)
    with pytest.raises(UserError, match="mask has shape"):
        FAMILY.complete(PARAMS, {}, {"x": x}, mask[:, :1], keys_of(20_000), OPTIONS)


@pytest.mark.parametrize("steps", [1, 7])
def test_the_rest_has_the_bound_of_what_is_hidden(steps):
    family = dataclasses.replace(FAMILY, bound_steps=steps)
    num, batch = 4_000, {"x": jnp.tile(jnp.int32([0, 2]), (4_000, 1))}

    def nats(*known):
        found = family.log_prob_of_rest(PARAMS, {}, batch, np.array(known), keys_of(num))
        assert found.kind == "lower_bound"
        return -np.asarray(found.value)

    # With one element hidden the bound is exact, whatever the number of steps is.
    alone = nats(False, True)
    exact = -np.log(JOINT[0, 2] / JOINT[:, 2].sum())
    error = float(alone.std()) / num**0.5
    assert alone.mean() == pytest.approx(exact, abs=4 * error + 1e-4)
    assert (nats(True, True) == 0).all()
    whole = family.log_prob(PARAMS, {}, batch, keys_of(num)).value
    np.testing.assert_array_equal(nats(False, False), -np.asarray(whole))


def test_elements_behind_the_end_cost_nothing():
    x = jnp.int32([[1, 0], [1, 2]])
    batch = {"x": x, "length": jnp.int32([1, 1])}
    found = FAMILY.bound(PARAMS, {}, batch, keys_of(1)[jnp.zeros(2, int)], 40)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("spec", "network"),
    [
        (DataSpec("binary", (8, 6, 1), 256, num_classes=3), "unet"),
        (DataSpec("binary", (4, 4, 3), 17, num_classes=3), "transformer"),
        (DataSpec("tokens", (9,), vocabulary=tuple("abcde"), medium="text"), "transformer"),
    ],
)
def test_networks_learn_what_is_hidden(spec, network):
    model = families.default_model("diffusion")
    model.update(process="absorbing", network=network, features=8, heads=2, layers=1)
    model.update(multipliers=(1, 2), conditional=spec.num_classes > 0, bound_steps=4)
    family = families.build("diffusion", model, spec)
    assert families.has(family, Completer, Density, RestDensity, Sampler, SteppedBound)
    values = len(spec.vocabulary) or 2
    x = RNG.integers(values, size=(4, *spec.shape))
    x = jnp.int32(x) if spec.vocabulary else jnp.float32(x)
    batch = {"x": x, "label": jnp.arange(4) % 3}
    params, extra = jax.jit(family.init)(jax.random.key(0), batch)
    # What is said of each element is a number for each of its values, whatever grey was stored.
    assert family.network.outputs == values * (spec.shape[-1] if spec.is_image else 1)
    move = lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(move, params)
    loss = lambda p: family.losses(("denoiser",), p, extra, batch, keys_of(4), 0)[0]["denoiser"]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert (leaf != 0).any(), jax.tree_util.keystr(path)
    found = family.log_prob(params, extra, batch, keys_of(4))
    assert found.kind == "lower_bound" and np.isfinite(found.value).all()
    options = {"steps": 3, "guidance": 2.0 if spec.num_classes else 1.0}
    drawn = np.asarray(family.sample(params, extra, keys_of(4), batch, options))
    assert drawn.shape == x.shape and set(np.unique(drawn)) <= set(range(values))
