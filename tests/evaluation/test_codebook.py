"""Usage of a codebook over a split, against counts by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import config, evaluation
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject

SPEC = DataSpec("bytes", (1, 2, 1), levels=8)


@dataclasses.dataclass(frozen=True)
class Identity:
    """Each pixel is its code."""

    codebook_size: int = 8

    def codes(self, params, extra, batch):
        return batch["x"][..., 0].astype(jnp.int32)


def evaluate(family, x):
    examples = ArrayExamples("test", {"x": x, "label": np.zeros(len(x), np.int32)})
    dataset = Dataset("given", SPEC, {"test": examples})
    settings = config.default_config("vqvae").eval
    settings.batch_size = 3  # the last batch is not full
    subject = Subject(family, SPEC, {}, {})
    return evaluation.evaluate(Context(subject, dataset, "test", settings), ("codebook",))


def test_usage_over_a_split_by_hand():
    # Codes 1, 5 and 6: 4, 2 and 2 of 8.
    x = np.uint8([[1, 5], [1, 6], [6, 1], [5, 1]]).reshape(4, 1, 2, 1)
    figures = evaluate(Identity(), x)
    assert figures["perplexity"].value == pytest.approx(2**1.5)  # the entropy is 3/2 ln 2
    assert figures["codes_used"].value == 3
    for figure in figures.values():
        assert figure.spec == {"data": "test:4", "codebook": 8}
        assert (figure.kind, figure.unit, figure.n, figure.stderr) == ("exact", "codes", 4, None)


def test_models_without_codes_are_refused():
    with pytest.raises(UserError, match=r"codebook needs codes, which object lacks; .*: VQVAE"):
        evaluate(object(), np.zeros((1, 1, 2, 1), np.uint8))
