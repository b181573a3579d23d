"""What a model is given: the one maker of batches, and the description that a run keeps."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import keys as keys_lib
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.examples import batch as make_batch
from gen_jax.data.spec import DataSpec, fixed_keys

GREY = DataSpec("bytes", (4, 4, 1), levels=256)
SPEC = DataSpec(
    "real",
    (4, 4, 1),
    levels=256,
    num_classes=3,
    class_names=("a", "b", "c"),
    given={"source": GREY, "angle": DataSpec("real", (2,))},
)
STORED = {
    "x": np.full((5, 4, 4, 1), 7, np.uint8),
    "label": np.array([0, 1, 2, 0, 1]),
    "source": np.full((5, 4, 4, 1), 200, np.uint8),
    "angle": np.arange(10.0).reshape(5, 2),
    "mask": np.ones((5, 4), bool),
}
KEYS = keys_lib.per_example(keys_lib.stream(0, "test"), jnp.arange(5))


def test_all_arrays_arrive_in_model_units():
    batch = SPEC.batch(STORED, KEYS)
    assert set(batch) == set(STORED) and batch["label"].dtype == np.int32
    assert ((batch["x"] >= 7 / 256) & (batch["x"] < 8 / 256)).all(), "dequantised"
    np.testing.assert_array_equal(batch["source"], STORED["source"])
    assert batch["source"].dtype == batch["angle"].dtype == np.float32
    np.testing.assert_array_equal(batch["mask"], STORED["mask"])


def test_x_and_what_is_given_have_noise_of_their_own():
    spec = dataclasses.replace(SPEC, given={"source": dataclasses.replace(SPEC, given={})})
    batch = spec.batch({"x": STORED["x"], "source": STORED["x"]}, KEYS)
    assert (batch["x"] != batch["source"]).any()


def test_without_labels_there_are_zeros():
    batch = GREY.batch({"x": STORED["x"]}, KEYS)
    np.testing.assert_array_equal(batch["label"], np.zeros(5))


def test_the_fixed_draw_is_that_of_the_split_and_the_place():
    examples = ArrayExamples("test", STORED)
    index = np.array([3, 1])
    batch = make_batch(SPEC, examples, index)
    whole = SPEC.batch(STORED, fixed_keys("test", jnp.arange(5)))
    np.testing.assert_array_equal(batch["x"], whole["x"][index])


def test_a_template_has_the_shapes_of_a_batch():
    template = SPEC.template(5)
    batch = SPEC.batch({name: STORED[name] for name in template}, KEYS)
    assert {n: (x.shape, x.dtype) for n, x in template.items()} == {
        n: (x.shape, x.dtype) for n, x in batch.items()
    }
    tokens = DataSpec("tokens", (9,), vocabulary=("a", "b")).template(2)["x"]
    assert (tokens.shape, tokens.dtype) == ((2, 9), jnp.int32)


def test_verbatim_takes_model_units_as_they_are():
    batch = SPEC.batch(STORED, KEYS)
    again = SPEC.verbatim().batch(batch, None)
    jax.tree.map(np.testing.assert_array_equal, again, batch)


def test_a_spec_is_told_from_others_and_survives_json():
    again = DataSpec.from_json(json.loads(json.dumps(SPEC.to_json())))
    assert again == SPEC and hash(again) == hash(SPEC)
    other = dataclasses.replace(SPEC, given={})
    assert other != SPEC
    words = DataSpec("tokens", (3,), vocabulary=("a", "\n", "é"))
    assert DataSpec.from_json(json.loads(json.dumps(words.to_json()))) == words


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "pickle"},
        {"shape": [10**9, 10**9]},
        {"shape": [0]},
        {"shape": "abc"},
        {"levels": -1},
        {"levels": True},
        {"dynamic": 1},
        {"vocabulary": ["a"]},
        {"class_names": [1]},
        {"given": {"x": GREY.to_json()}},
        {"given": {"y": {}}},
        {"more": 1},
    ],
)
def test_what_is_no_spec_is_refused(change):
    with pytest.raises(ValueError, match=r"describes? no data|does not have"):
        DataSpec.from_json({**json.loads(json.dumps(SPEC.to_json())), **change})
    for nothing in (None, [], "x", {}):
        with pytest.raises(ValueError):
            DataSpec.from_json(nothing)
