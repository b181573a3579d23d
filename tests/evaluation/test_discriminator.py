"""r_v of a discriminator whose opinion is known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax import evaluation
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject

SPEC = DataSpec("real", (2,))
SETTINGS = ConfigDict({"num_samples": 50})


@dataclasses.dataclass(frozen=True)
class Known:
    """Its logits are the first coordinate, and its samples lie at one place."""

    place: float
    given: tuple = ()

    def discriminate(self, params, extra, batch):
        return batch["x"][:, 0]

    def sample(self, params, extra, keys, condition, options):
        return jnp.full((len(keys), 2), self.place)


def dataset(train, held_out):
    splits = {
        name: ArrayExamples(
            name, {"x": np.full((size, 2), x, np.float32), "label": np.zeros(size, np.int32)}
        )
        for name, size, x in (("train", 200, train), ("validation", 60, held_out))
    }
    return Dataset("given", SPEC, splits)


@pytest.mark.parametrize(
    ("train", "held_out", "fake", "expected"),
    [(3.0, 3.0, 1.0, 0.0), (3.0, 1.0, 1.0, 1.0), (3.0, 2.5, 1.0, 0.25), (1.0, 1.0, 1.0, 0.0)],
)
def test_overfitting_is_the_part_of_the_way(train, held_out, fake, expected):
    subject = Subject(Known(fake), SPEC, {}, {})
    found = evaluation.evaluate(
        Context(subject, dataset(train, held_out), "validation", SETTINGS), ["discriminator"]
    )
    assert found["overfitting"].value == pytest.approx(expected)
    logits = [found[f"logits_{name}"].value for name in ("train", "held_out", "fake")]
    assert logits == [train, held_out, fake]
    assert found["overfitting"].n == 50


def test_a_model_without_a_discriminator_is_refused():
    subject = Subject(object(), SPEC, {}, {})
    with pytest.raises(UserError, match=r"discriminate, which object lacks; .*: GAN"):
        evaluation.evaluate(
            Context(subject, dataset(0, 0), "validation", SETTINGS), ["discriminator"]
        )
