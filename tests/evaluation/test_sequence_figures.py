"""Figures of sequences, of models whose log probabilities are known."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax import evaluation
from gen_jax.data import sources
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject


@dataclasses.dataclass(frozen=True)
class Known:
    """Says of element x at place t of a window -(base + slope * x)."""

    spec: DataSpec
    base: float
    slope: float = 0.0

    given = ()

    def element_log_probs(self, params, extra, batch):
        x = batch["x"].reshape(*batch["x"].shape[:2], -1).sum(-1)
        return -(self.base + self.slope * x.astype(jnp.float32))


def context_of(family_of, name, split="test", **changes):
    config = config_lib.default_config("autoregressive")
    config.data.update({"name": name, **changes})
    data = sources.load(config.data)
    subject = Subject(family_of(data.spec), data.spec, {}, {})
    return Context(subject, data, split, config.eval)


@pytest.mark.parametrize(("window", "context"), [(9, 1), (9, 5), (40, 39)])
def test_every_character_counts_once_whatever_the_windows(window, context):
    own = context_of(
        lambda spec: Known(spec, 0.5, 0.1),
        "grammar",
        window=window,
        context=context,
        preprocess="none",
    )
    found = evaluation.evaluate(own, ["nats_per_character"])
    (start, stop) = own.examples.spans[0]
    text = np.float64(own.examples.sequence[start + 1 : stop])  # but the first
    figure = found["nats_per_character"]
    assert figure.value == pytest.approx(0.5 + 0.1 * text.mean(), rel=1e-6)
    assert (figure.n, figure.unit, figure.kind) == (len(text), "nats/character", "exact")
    assert figure.spec["window"] == window and figure.spec["context"] == context
    # Of independent characters about the error of their mean, whose variation is within windows.
    assert 0 < figure.stderr < 3 * 0.1 * text.std() / math.sqrt(len(text))
    counted = found["ngram_nats_per_character"]
    assert counted.n == figure.n and 0 < counted.value < math.log(len(own.dataset.spec.vocabulary))


def test_a_uniform_model_of_sound_has_eight_bits_a_sample():
    own = context_of(
        lambda spec: Known(spec, math.log(256)),
        "notes",
        window=300,
        context=100,
        preprocess="bytes",
    )
    found = evaluation.evaluate(own, ["bits_per_sample"])
    assert found["bits_per_sample"].value == pytest.approx(8, rel=1e-6)
    assert found["bits_per_sample"].stderr == pytest.approx(0, abs=1e-6)
    assert found["bits_per_sample"].unit == "bits/sample"
    assert found["bigram_bits_per_sample"].value < found["unigram_bits_per_sample"].value < 8


def test_frames_are_pooled_but_for_the_first_of_each_piece():
    own = context_of(
        lambda spec: Known(spec, 1.0, 2.0),
        "chords",
        window=20,
        context=10,
        preprocess="fixed_binarization",
    )
    found = evaluation.evaluate(own, ["nats_per_frame"])
    pieces = [own.examples.sequence[start:stop] for start, stop in own.examples.spans]
    keys = np.concatenate([piece[1:] for piece in pieces]).sum(1)
    assert found["nats_per_frame"].value == pytest.approx(1 + 2 * keys.mean(), rel=1e-6)
    assert found["nats_per_frame"].n == len(keys)
    assert found["markov_nats_per_frame"].value < found["marginal_nats_per_frame"].value


def test_a_figure_of_another_medium_is_refused():
    own = context_of(lambda spec: Known(spec, 1.0), "grammar", window=9, preprocess="none")
    with pytest.raises(UserError, match="bits_per_sample is of sound; grammar is not"):
        evaluation.evaluate(own, ["bits_per_sample"])
