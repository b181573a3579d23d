"""What choices need of one another: one line with what is chosen, why, and the key to change."""

import pytest
from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import requirements
from gen_jax.families.requirements import (
    IMAGES,
    LABELS,
    Requirement,
    above,
    at_most,
    not_empty,
    only,
    other_than,
)

MODEL = ConfigDict({"kind": "a", "size": 5, "parts": (1,), "weight": 0.0})
IMAGE = DataSpec("bytes", (8, 8, 1), levels=17, num_classes=3)
POINTS = DataSpec("real", (2,))


@pytest.mark.parametrize(
    ("requirement", "changes", "message"),
    [
        (
            Requirement({"kind": only("b", "c")}, {"size": at_most(4, 3)}, "it is small"),
            {"kind": "c"},
            "model.kind='c' needs model.size of at most 4 and it is 5: it is small; "
            "use --config.model.size=3",
        ),
        (
            Requirement({"size": above(2, 3)}, {"parts": not_empty((4, 4))}, "why"),
            {"parts": ()},
            'needs model.parts that is not empty and it is (): why; use --config.model.parts="(4',
        ),
        (
            Requirement({"kind": other_than("b")}, {"weight": other_than(0, 1.5)}, "why", "do so"),
            {},
            "model.kind='a' needs model.weight other than 0 and it is 0.0: why; do so",
        ),
    ],
)
def test_one_line(requirement, changes, message):
    model = ConfigDict({**MODEL, **changes})
    with pytest.raises(UserError) as caught:
        requirements.check(model, IMAGE, [requirement])
    assert message in str(caught.value) and "\n" not in str(caught.value)
    # Where what is chosen is another, nothing is needed.
    fine = ConfigDict({**model, "kind": "b", "size": 1})
    requirements.check(fine, IMAGE, [requirement])


def test_of_the_data():
    requirements.check(MODEL, IMAGE, [Requirement({}, {"data": IMAGES}, "x")])
    for needs, word in ((IMAGES, "images"), (LABELS, "labels")):
        with pytest.raises(UserError) as caught:
            requirements.check(MODEL, POINTS, [Requirement({}, {"data": needs}, "why")])
        assert str(caught.value) == (
            f"this model needs {word} and the data are real of shape [2] with 0 classes: why; "
            "choose another --config.data.name"
        )
