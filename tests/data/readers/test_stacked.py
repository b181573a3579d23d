"""Stacked MNIST: the channels are the digits that the label says, and always the same."""

import numpy as np
import pytest
from own_data import data_config

from gen_jax.data.examples import all_rows, carve
from gen_jax.data.readers import stacked, tfds


@pytest.fixture(scope="module")
def config(tiny_idx, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    return data_config("stacked_mnist", data_dir=folder, manual_dir=str(tiny_idx))


@pytest.fixture(scope="module")
def source(config):
    return stacked.read(config, num_train=700, num_test=90)


def test_channels_are_the_digits_of_the_label(config, source):
    digits = tfds.read("mnist", config)
    for split, count in (("train", 700), ("test", 90)):
        rows = all_rows(digits.splits[split])
        digit_of = {bytes(x): y for x, y in zip(rows["x"], rows["label"], strict=True)}
        examples = all_rows(source.splits[split])
        assert examples["x"].shape == (count, 28, 28, 3) and examples["x"].dtype == np.uint8
        for x, label in zip(examples["x"], examples["label"], strict=True):
            # Pictures of the other split are not in `digit_of`.
            channels = [digit_of[bytes(np.ascontiguousarray(x[..., c]))] for c in range(3)]
            assert source.class_names[label] == "".join(map(str, channels))
    assert source.levels == 256 and source.shape == (28, 28, 3)


def test_triples_are_fixed_and_have_all_digits_in_all_channels(config, source):
    label = all_rows(source.splits["train"])["label"]
    again = all_rows(stacked.read(config, num_train=700, num_test=90).splits["train"])
    np.testing.assert_array_equal(label, again["label"])
    for place in (1, 10, 100):
        counts = np.bincount(label // place % 10, minlength=10)
        # 700 draws of ten digits that are equally frequent here: 70 each, give or take 8.
        assert counts.min() > 35 and counts.max() < 105
    assert label.dtype == np.int32
    digits = np.stack([label // place % 10 for place in (1, 10, 100)])
    assert (abs(np.corrcoef(digits)[np.triu_indices(3, 1)]) < 0.15).all()


def test_rows_are_the_same_however_they_are_read(source):
    examples = source.splits["train"]
    everything = all_rows(examples)
    index = np.array([5, 699, 5, 0])
    some = examples.gather(index)
    np.testing.assert_array_equal(some["x"], everything["x"][index])
    np.testing.assert_array_equal(some["label"], everything["label"][index])
    rest, taken = carve(examples, "validation", 100, 0)
    assert len(rest) == 600 and len(taken) == 100 and taken.split == "validation"
    both = np.concatenate([all_rows(part)["label"] for part in (rest, taken)])
    np.testing.assert_array_equal(np.sort(both), np.sort(everything["label"]))


def test_default_sizes(config):
    source = stacked.read(config)
    assert {name: len(split) for name, split in source.splits.items()} == {
        **{"train": 50_000, "test": 10_000}
    }
    train = source.splits["train"]
    assert train.nbytes == 50_000 * 28 * 28 * 3
    assert all_rows(train)["x"].nbytes == train.nbytes
    assert len(set(all_rows(train)["label"])) == 1_000 == len(source.class_names)
