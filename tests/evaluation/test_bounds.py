"""The figures of bounds are those of the family, in their units."""

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

SETTINGS = ConfigDict({"batch_size": 4, "num_examples": 0, "bound_steps": (2, 5)})


@dataclasses.dataclass(frozen=True)
class Bounded:
    """Bounds that can be read off x."""

    spec: DataSpec

    def bound(self, params, extra, batch, keys, steps):
        return -batch["x"].astype(jnp.float32).sum(1) / steps

    def bound_parts(self, params, extra, batch, keys):
        x = batch["x"].sum(1)
        return {"prior": x, "diffusion": 2 * x}

    def ode_log_prob(self, params, extra, batch, keys):
        return -batch["x"].sum(1)


def context(spec, x, **more):
    examples = ArrayExamples("test", {"x": x, **more})
    subject = Subject(Bounded(spec), spec, {"network": np.zeros(1)}, {})
    return Context(subject, Dataset("given", spec, {"test": examples}), "test", SETTINGS)


def test_bounds_by_steps_are_of_examples_and_of_elements():
    spec = DataSpec("tokens", (3,), vocabulary=("a", "b", "c"), medium="text")
    x = np.int32([[1, 2, 0], [2, 2, 2], [1, 0, 0], [0, 1, 1], [2, 0, 1]])
    length = np.int32([3, 3, 2, 3, 3])
    figures = evaluation.evaluate(context(spec, x, length=length), ["stepped_bound"])
    assert figures["nll@steps=2"].value == pytest.approx(x.sum() / 5 / 2)
    assert figures["nll@steps=2"].kind == "upper_bound"
    assert figures["nats_per_element@steps=5"].value == pytest.approx(x.sum() / 5 / length.sum())


def test_parts_and_the_ode_are_in_bits_a_dimension():
    spec = DataSpec("bytes", (2,), 256)
    x = np.uint8([[3, 4], [10, 20], [0, 1]])
    figures = evaluation.evaluate(context(spec, x), ["bound_parts", "ode_bits"])
    bits = x.sum() / 3 / 2 / np.log(2)
    assert figures["prior_bits_per_dim"].value == pytest.approx(bits)
    assert figures["diffusion_bits_per_dim"].value == pytest.approx(2 * bits)
    assert figures["ode_bits_per_dim"].value == pytest.approx(bits)
    assert figures["ode_bits_per_dim"].kind == "estimate"


def test_models_without_such_a_bound_are_refused():
    spec = DataSpec("bytes", (2,), 256)
    other = context(spec, np.uint8([[3, 4]]))
    other = dataclasses.replace(other, subject=dataclasses.replace(other.subject, family=object()))
    with pytest.raises(UserError, match="families that have it: VariationalDiffusion"):
        evaluation.evaluate(other, ["bound_parts"])
    with pytest.raises(UserError, match="families that have it: AbsorbingDiffusion"):
        evaluation.evaluate(other, ["stepped_bound"])
