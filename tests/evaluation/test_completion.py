"""How likely the rest of a picture is, of a model whose probabilities can be read off x."""

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax import evaluation
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec, fixed_keys
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, completion
from gen_jax.families.base import LogProb

X = np.random.default_rng(0).integers(0, 4, (5, 4, 6, 1)).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Summed:
    """-log p of what is not known is the sum of its values."""

    spec: DataSpec
    kind: str = "exact"

    def log_prob_of_rest(self, params, extra, batch, known, keys):
        rest = np.float32(~known) * batch["x"]
        return LogProb(-rest.reshape(len(rest), -1).sum(1), None, self.kind)


def figures(spec, masks=("one_quadrant", "left"), kind="exact"):
    settings = ConfigDict({"batch_size": 2, "num_examples": 0, "completions": masks})
    subject = Subject(Summed(spec, kind), spec, {"network": np.zeros(1)}, {})
    dataset = Dataset("given", spec, {"test": ArrayExamples("test", {"x": X})})
    return evaluation.evaluate(Context(subject, dataset, "test", settings), ["conditional_nll"])


def test_what_is_known_is_not_counted():
    found = figures(DataSpec("bytes", (4, 6, 1), 4))
    lower_left = found["conditional_nll@task=one_quadrant"]
    expected = X.sum() - X[:, 2:, :3].sum()
    assert lower_left.value == pytest.approx(expected / 5)
    assert lower_left.kind == "exact" and lower_left.unit == "nats"
    assert found["conditional_nll@task=left"].value == pytest.approx(X[:, :, 3:].sum() / 5)


def test_of_dequantised_data_it_is_of_the_stored_integers():
    spec = DataSpec("real", (4, 6, 1), 4)
    found = figures(spec, ("left",), "lower_bound")["conditional_nll@task=left"]
    x = np.asarray(spec.prepare(X, fixed_keys("test", np.arange(5))))
    assert found.value == pytest.approx(x[:, :, 3:].sum() / 5 + 12 * np.log(4), rel=1e-5)
    assert found.kind == "upper_bound"


def test_vectors_have_no_part_by_these_names():
    spec = DataSpec("binary", (6,), 2)
    dataset = Dataset("given", spec, {})
    with pytest.raises(UserError, match="is of pictures"):
        completion.conditional_nll.also(Summed(spec), dataset, ConfigDict(), "conditional_nll")
