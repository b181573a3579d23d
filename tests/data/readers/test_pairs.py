"""Pictures with another each: filters against what they should do, and which goes with which."""

import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax.data import sources
from gen_jax.data.examples import all_rows
from gen_jax.data.readers import pairs
from gen_jax.errors import UserError

RNG = np.random.default_rng(0)


def data(name, **changes):
    config = config_lib.default_config("image_translation").data
    config.update(name=name, preprocess="bytes", num_validation=100, **changes)
    return config


def test_edges_are_where_a_picture_changes():
    square = np.zeros((12, 12, 1), np.uint8)
    square[4:8, 4:8] = 200
    found = pairs.edges(square, 256)
    assert found.dtype == np.uint8 and {*np.unique(found)} == {0, 255}
    assert (found[4, 4:8] == 255).all() and (found[4:8, 7] == 255).all()  # its border
    assert (found[:2] == 0).all() and (found[10:] == 0).all()  # and not what is far from it
    assert (pairs.edges(np.full((6, 6, 3), 7, np.uint8), 256) == 0).all()
    assert pairs.edges(RNG.integers(0, 17, (5, 7, 3), np.uint8), 17).max() == 16


def test_scratches_are_straight_and_of_the_picture_alone():
    x = np.full((40, 40, 1), 100, np.uint8)
    x[0, 0] = 1
    found = pairs.scratched(x, 256)
    changed = found != x
    assert 0.01 < changed.mean() < 0.5 and {*np.unique(found[changed])} <= {0, 255}
    np.testing.assert_array_equal(found, pairs.scratched(x.copy(), 256))
    other = x.copy()
    other[0, 0] = 2
    assert (pairs.scratched(other, 256) != found).sum() > 20


def test_blur_keeps_the_mean_and_takes_what_is_fine():
    x = RNG.integers(0, 256, (28, 28, 3), np.uint8)
    found = np.float64(pairs.blurred(x, 256))
    assert found.mean() == pytest.approx(x.mean(), abs=1)
    assert found.std() < x.std() / 3


@pytest.mark.parametrize("name", pairs.FILTERS)
def test_each_example_has_what_the_filter_makes_of_it(name):
    dataset = sources.load(data(f"pairs:{name}/digits"))
    assert dataset.spec.given["source"].shape == dataset.spec.shape == (8, 8, 1)
    for split in ("train", "validation", "test"):
        rows = dataset.splits[split].gather(np.array([3, 0]))
        expected = [pairs.FILTERS[name](x, 17) for x in rows["x"]]
        np.testing.assert_array_equal(rows["source"], expected)
    batch = dataset.batch("test", [0, 1])
    assert batch["source"].shape == (2, 8, 8, 1) and batch["source"].max() <= 16


def test_files_are_read_when_they_are_asked_for(tmp_path):
    from PIL import Image

    for number in range(12):
        picture = Image.fromarray(RNG.integers(0, 256, (6, 6, 3), np.uint8))
        (tmp_path / "a").mkdir(exist_ok=True)
        picture.save(tmp_path / "a" / f"{number}.png")
    dataset = sources.load(data(f"pairs:blurred/folder:{tmp_path}"))
    rows = all_rows(dataset.splits["train"])
    np.testing.assert_array_equal(rows["source"], [pairs.blurred(x, 256) for x in rows["x"]])


def write(path, count, value):
    x = np.full((count, 4, 4), value, np.uint8)
    x[:, 0, 0] = np.arange(count)
    np.savez(
        path, x_train=x, x_test=x[:20], label_train=x[:, 0, 0] % 3, label_test=x[:20, 0, 0] % 3
    )


@pytest.mark.parametrize(("first", "second"), [(150, 120), (120, 150)])
def test_two_sets_meet_at_random_and_none_is_left_out(tmp_path, first, second):
    write(tmp_path / "a.npz", first, 9)
    write(tmp_path / "b.npz", second, 5)
    name = f"unpaired:arrays:{tmp_path}/a.npz,arrays:{tmp_path}/b.npz"
    source = pairs.read_unpaired(name.partition(":")[2], data(name), sources._read)
    rows = all_rows(source.splits["train"])
    assert len(rows["x"]) == len(rows["source"]) == max(first, second)
    assert (rows["source"][:, 1, 1] == 9).all() and (rows["x"][:, 1, 1] == 5).all()
    of_a, of_b = rows["source"][:, 0, 0, 0], rows["x"][:, 0, 0, 0]
    assert {*of_a} == {*range(first)} and {*of_b} == {*range(second)}
    np.testing.assert_array_equal(rows["source_label"], of_a % 3)
    np.testing.assert_array_equal(rows["label"], of_b % 3)
    assert (of_a == of_b).mean() < 0.1


REFUSED = [
    ("pairs:edges", "names no filter and dataset"),
    ("pairs:sharp/digits", "with one of: edges, scratched, blurred"),
    ("pairs:edges/ring", "ring has no pictures with grey levels"),
    ("pairs:edges/pairs:edges/digits", "has no pictures with grey levels"),
    ("pairs:edges/digit", "did you mean digits"),
    ("unpaired:digits", "names 1 datasets; give two"),
    ("unpaired:digits,digits,digits", "names 3 datasets; give two"),
    ("unpaired:digits,", "give two"),
]


@pytest.mark.parametrize(("name", "told"), REFUSED)
def test_what_does_not_go_together_is_refused(name, told):
    with pytest.raises(UserError, match=told):
        sources.load(data(name))


def test_two_sets_of_other_sizes_are_refused(tmp_path):
    write(tmp_path / "a.npz", 150, 9)
    with pytest.raises(UserError, match=r"bring both to one size: --config.data.image_size=28"):
        sources.load(data(f"unpaired:digits,arrays:{tmp_path}/a.npz"))
