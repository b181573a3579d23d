"""Altered pictures of another dataset against numpy's own flips, in memory and on demand."""

import numpy as np
import pytest
from PIL import Image

from gen_jax import config as config_lib
from gen_jax.data import sources
from gen_jax.data.examples import all_rows
from gen_jax.errors import UserError


def data(name, **changes):
    config = config_lib.default_config("vae").data
    config.update(name=name, num_validation=10, **changes)
    return config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("mirrored", lambda x: np.flip(x, 2)),
        ("upside_down", lambda x: np.flip(x, 1)),
        ("inverted", lambda x: 16 - x),
    ],
)
def test_pictures_are_altered_and_all_else_is_as_it_was(change, expected):
    plain, altered = sources.load(data("digits")), sources.load(data(f"{change}:digits"))
    assert altered.splits.keys() == plain.splits.keys() and altered.spec == plain.spec
    for split in plain.splits:
        before, after = all_rows(plain.splits[split]), all_rows(altered.splits[split])
        np.testing.assert_array_equal(after["x"], expected(before["x"]))
        assert after["x"].dtype == before["x"].dtype
        np.testing.assert_array_equal(after["label"], before["label"])
    back = sources.load(data(f"{change}:{change}:digits"))
    np.testing.assert_array_equal(
        all_rows(back.splits["test"])["x"], all_rows(plain.splits["test"])["x"]
    )


def test_pictures_of_files_are_altered_when_they_are_read(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 256, (6, 9, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    plain, altered = (
        sources.load(data(name)).splits["train"]
        for name in (f"folder:{tmp_path}", f"upside_down:folder:{tmp_path}")
    )
    rows = np.array([5, 2])
    x = plain.gather(rows)["x"]
    np.testing.assert_array_equal(altered.gather(rows)["x"], x[:, ::-1])
    assert altered.subset("few", rows).gather(np.array([1]))["x"].tolist() == x[1:, ::-1].tolist()
    assert altered.names == plain.names


def test_they_are_anomalies_of_the_data():
    found = sources.load(data("digits", anomalies="upside_down:digits")).splits
    test, others = all_rows(found["test"]), all_rows(found["anomalies"])
    np.testing.assert_array_equal(others["x"], test["x"][:, ::-1])
    assert found["anomalies"].split == "upside_down:digits/test"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mirrored:ring", "ring has no pictures with grey levels"),
        ("mirrored:", "unknown dataset ''"),
        ("inverted:pairs:edges/digits", "has no pictures with grey levels"),
        ("inverted:digit", "did you mean digits"),
    ],
)
def test_bad_names_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        sources.load(data(name))
