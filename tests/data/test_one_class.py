"""One class of a dataset as the data, the others as anomalies."""

import dataclasses

import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax.data import sources
from gen_jax.data.readers import digits, one_class
from gen_jax.errors import UserError


def settings(name):
    config = config_lib.default_config("vae").data
    config.name, config.num_validation = name, 10
    return config


def test_a_class_is_trained_on_and_the_others_are_anomalies():
    whole = sources.load(settings("digits"))
    found = sources.load(settings("one_class:3/digits"))
    labels = {}
    for name, split in found.splits.items():
        labels[name] = split.gather(np.arange(len(split)))["label"]
    for split in ("train", "validation", "test"):
        assert len(labels[split]) and (labels[split] == 3).all()
    assert {*labels["anomalies"]} == {*range(10)} - {3}
    assert len(labels["test"]) + len(labels["anomalies"]) == len(whole.splits["test"])
    # In the order in which they were.
    test = whole.splits["test"]
    rows = test.gather(np.arange(len(test)))
    own = found.splits["test"]
    np.testing.assert_array_equal(
        own.gather(np.arange(len(own)))["x"], rows["x"][rows["label"] == 3]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_class:12/digits", "has no class 12; valid are: 0, 1"),
        ("one_class:digits", "give --config.data.name=one_class:3/mnist"),
    ],
)
def test_bad_names_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        sources.load(settings(name))


def test_data_without_labels_are_refused():
    without = dataclasses.replace(digits.read(0), class_names=())
    with pytest.raises(UserError, match="no test split or no labels"):
        one_class.read("0/given", settings("digits"), lambda name, config: without)
