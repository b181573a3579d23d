"""Figures of translations, of models whose translations are known."""

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax.applications import gallery
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, translation

RNG = np.random.default_rng(0)
SPEC = DataSpec("bytes", (8, 8, 1), 256, 2, given={"source": DataSpec("bytes", (8, 8, 1), 256)})


@dataclasses.dataclass(frozen=True)
class Turned:
    """Sources upside down, and back again; with `lazy` they are left as they are."""

    lazy: bool = False

    given = ("source",)
    spec = SPEC

    def sample(self, params, extra, keys, condition, options):
        return condition["source"] if self.lazy else condition["source"][:, ::-1]

    def translate_back(self, params, extra, x):
        return x if self.lazy else x[:, ::-1]


def pictures(num, bright_row):
    """Of two classes: a bright row, on the left side or on the right."""
    x, label = RNG.integers(0, 60, (num, 8, 8, 1)), np.int32(np.arange(num) % 2)
    for number in range(num):
        half = slice(0, 4) if label[number] == 0 else slice(4, 8)
        x[number, bright_row, half] = 220
    return np.uint8(x), label


def context_of(family, splits):
    dataset = Dataset("a test", SPEC, splits)
    settings = ConfigDict({"num_examples": 0, "num_samples": 600, "classifier_steps": 25})
    return Context(Subject(family, SPEC, {}, {}), dataset, "test", settings)


@pytest.fixture(scope="module")
def unpaired():
    """Sources with a row above; x turned upside down, but its class is then on the other side."""
    splits = {}
    for split, num in (("train", 600), ("test", 90)):
        source, source_label = pictures(num, 1)
        x, label = pictures(num, 6)
        x[:, :, :] = np.where(label[:, None, None, None] == 0, x[:, :, ::-1], x)
        x[label == 1] = x[label == 1][:, :, ::-1]
        arrays = {"x": x[:, :, ::-1], "label": label}
        splits[split] = ArrayExamples(
            split, {**arrays, "source": source, "source_label": source_label}
        )
    return splits


def test_errors_of_translations_are_those_of_arithmetic():
    source, _ = pictures(30, 1)
    x = np.clip(np.int32(source[:, ::-1]) + 51, 0, 255).astype(np.uint8)
    splits = {"test": ArrayExamples("test", {"x": x, "source": source})}
    figures = translation.translation_error.compute(context_of(Turned(), splits))
    made = (np.float64(source[:, ::-1]) - x) / 255
    assert figures["translation_error"].value == pytest.approx(np.abs(made).mean(), abs=1e-6)
    psnr = -10 * np.log10(np.square(made).mean((1, 2, 3)))
    assert figures["translation_psnr"].value == pytest.approx(psnr.mean(), rel=1e-6)
    as_they_are = np.abs(np.float64(source) - x).mean() / 255
    assert figures["source_error"].value == pytest.approx(as_they_are, abs=1e-6)


def test_a_classifier_of_right_translations_knows_the_target(unpaired):
    figures = translation.target_accuracy.compute(context_of(Turned(), unpaired))
    for name in ("target_accuracy", "back_accuracy"):
        assert figures[name].value > 0.97, name
    for name in ("target_only_accuracy", "back_target_only_accuracy"):
        assert figures[name].value > 0.97, name
    lazy = translation.target_accuracy.compute(context_of(Turned(lazy=True), unpaired))
    # Translations that are none teach what sources do.
    assert lazy["target_accuracy"].value == lazy["source_only_accuracy"].value
    assert lazy["back_accuracy"].value == lazy["back_source_only_accuracy"].value


def test_what_a_smaller_set_repeats_counts_once():
    x = np.uint8(np.arange(3)).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
    kept, labels = translation._once_each(x[[2, 0, 1, 2, 0]], np.array([5, 3, 4, 5, 3]))
    np.testing.assert_array_equal(kept, x[[2, 0, 1]])
    np.testing.assert_array_equal(labels, [5, 3, 4])


def test_the_picture_has_sources_translations_and_data(unpaired):
    context = context_of(Turned(), unpaired)
    found = gallery.samples(context)
    assert found.ndim == 3 and found.shape[0] > 3 * 8 and found.shape[1] > 16 * 8


@pytest.mark.parametrize("name", ["translation_error", "target_accuracy"])
def test_data_without_sources_are_refused(name):
    spec = dataclasses.replace(SPEC, given={})
    splits = {"train": ArrayExamples("train", {"x": pictures(4, 1)[0]})}
    definition = getattr(translation, name)
    with pytest.raises(UserError, match="is of pictures with another each"):
        definition.also(Turned(), Dataset("plain", spec, splits), ConfigDict(), name)


def test_target_accuracy_needs_both_labels():
    source, label = pictures(4, 1)
    splits = {"train": ArrayExamples("train", {"x": source, "source": source, "label": label})}
    with pytest.raises(UserError, match="needs labels of both sets"):
        translation.target_accuracy.also(
            Turned(), Dataset("pairs", SPEC, splits), ConfigDict(), "t"
        )
