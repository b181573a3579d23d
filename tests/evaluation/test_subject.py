"""Samples are drawn a few at a time, and each is the same however many are drawn."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.evaluation import Context, Subject
from gen_jax.evaluation.context import once, once_for_data

SPEC = DataSpec("real", (3,), num_classes=4)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise around the label; `sizes` says how many are drawn at a time."""

    number: int  # so that each is compiled anew
    given: tuple = ("label",)
    sizes: list = dataclasses.field(default_factory=list, compare=False, hash=False)

    def sample(self, params, extra, keys, condition, options):
        self.sizes.append(len(keys))
        noise = options["temperature"] * keys_lib.normal(keys, (3,))
        return 100 * condition["label"][:, None] + noise


NUMBERS = itertools.count()


def subject(**options) -> Subject:
    return Subject(Noise(next(NUMBERS)), SPEC, {}, {}, {"temperature": 1.0, **options})


def test_a_sample_does_not_depend_on_the_others():
    whole = subject().sample(50)
    for batch_size in (1, 7, 50, 1_000):
        model = subject(batch_size=batch_size)
        np.testing.assert_allclose(model.sample(50), whole, rtol=1e-6)
        assert set(model.family.sizes) == {min(batch_size, 50)}, "one program is compiled"
        np.testing.assert_allclose(model.sample(11), whole[:11], rtol=1e-6)
    assert len(np.unique(whole, axis=0)) == 50
    assert (subject().sample(50, seed=1) != whole).all()


def test_keys_are_those_of_the_number_of_the_sample():
    keys = keys_lib.per_example(keys_lib.stream(3, "sample"), jnp.arange(20))
    expected = keys_lib.normal(keys, (3,)) + 100 * (np.arange(20) % 4)[:, None]
    np.testing.assert_allclose(subject(batch_size=6).sample(20, seed=3), expected, rtol=1e-6)


def test_the_condition_is_split_with_the_samples():
    label = np.random.default_rng(0).integers(0, 4, 23)
    x = subject(batch_size=5).sample(23, {"label": label}, options={"temperature": 0.0})
    np.testing.assert_array_equal(x, np.broadcast_to(100.0 * label[:, None], (23, 3)))


def test_what_is_computed_once(tmp_path):
    counts = {"model": 0, "data": 0}

    @once
    def of_model(context, factor):
        counts["model"] += 1
        return factor * context.subject.options["temperature"]

    @once_for_data
    def of_data(context, split):
        counts["data"] += 1
        return split

    first = Context(subject(temperature=2.0), None, "test", None)
    assert [of_model(first, f) for f in (1, 3, 1, 3)] == [2, 6, 2, 6]
    assert [of_data(first, s) for s in ("test", "train", "test")] == ["test", "train", "test"]
    assert counts == {"model": 2, "data": 2}
    other = Context(subject(temperature=5.0), None, "test", None, known_of_data=first.known_of_data)
    assert of_model(other, 1) == 5 and of_data(other, "train") == "train"
    assert counts == {"model": 3, "data": 2}


def test_two_contexts_share_nothing_unless_they_are_told_to():
    one, other = (Context(subject(), None, "test", None) for _ in range(2))
    assert one.known_of_data is not other.known_of_data


@pytest.mark.parametrize("num", [1, 3])
def test_a_model_without_conditions_is_given_none(num):
    @dataclasses.dataclass(frozen=True)
    class Plain:
        given = ()

        def sample(self, params, extra, keys, condition, options):
            return jnp.zeros((len(keys), 3)) + jax.random.uniform(keys[0])

    model = Subject(Plain(), DataSpec("real", (3,)), {}, {})
    assert model.num_classes == 0 and model.sample(num).shape == (num, 3)
