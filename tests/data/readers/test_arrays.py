"""Arrays in memory and in .npz files."""

import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax.data import sources
from gen_jax.data.readers import arrays
from gen_jax.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 5)).astype(np.uint8)
LABELS = np.arange(40) % 4


def section(name, **changes):
    config = config_lib.default_config("vae").data
    config.update(name=name, num_validation=5, **changes)
    return config


def test_images_with_labels_have_splits_carved_from_them():
    dataset = sources.load(section("arrays", preprocess="bytes"), {"x": IMAGES, "label": LABELS})
    assert dataset.spec.shape == (6, 5, 1) and dataset.spec.levels == 256
    assert dataset.spec.class_names == ("0", "1", "2", "3")
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    assert sizes == {"train": 31, "test": 4, "validation": 5}
    first = dataset.splits["test"].gather(np.arange(4))
    rows = [int((x[..., 0] == IMAGES).all((1, 2)).argmax()) for x in first["x"]]
    np.testing.assert_array_equal(first["label"], LABELS[rows])


def test_a_file_with_splits_under_its_usual_names(tmp_path):
    given = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:9], "y_test": LABELS[:9]}
    np.savez(tmp_path / "set.npz", **given)
    dataset = sources.load(section(f"arrays:{tmp_path / 'set.npz'}", preprocess="bytes"))
    assert len(dataset.splits["test"]) == 9 and len(dataset.splits["train"]) == 35
    assert dataset.fingerprint == arrays.read(given).fingerprint


@pytest.mark.parametrize(
    ("x", "shape", "levels"),
    [
        (IMAGES[..., None].repeat(3, -1).astype(np.int64), (6, 5, 3), 256),
        (IMAGES > 100, (6, 5, 1), 2),
        (RNG.normal(size=(40, 7)), (7,), 0),
        (RNG.normal(size=(40, 6, 5)), (6, 5, 1), 0),
        (IMAGES.reshape(40, -1), (30,), 256),
    ],
)
def test_what_the_numbers_are_is_read_off_them(x, shape, levels):
    source = arrays.read({"x": x})
    assert (source.shape, source.levels) == (shape, levels)
    stored = source.splits["train"].arrays["x"]
    assert stored.dtype == (np.uint8 if levels else np.float32)
    np.testing.assert_allclose(stored.reshape(x.shape), x, rtol=1e-6)


def test_other_arrays_have_another_fingerprint():
    one = arrays.read({"x": IMAGES}).fingerprint
    assert one == arrays.read({"x": IMAGES.copy()}).fingerprint
    assert one != arrays.read({"x": IMAGES[::-1]}).fingerprint
    assert one != arrays.read({"x": IMAGES, "label": LABELS}).fingerprint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"were arrays in memory, which are gone; give them again"),
        ({}, r"no x of train; it takes x \[N, H, W\]"),
        ({"label": LABELS}, r"no x of train"),
        ({"x_test": IMAGES}, r"no x of train"),
        ({"x": IMAGES, "z": LABELS}, r"an array 'z', which is not known"),
        ({"x": IMAGES, "y": LABELS, "label": LABELS}, r"label of train twice"),
        ({"x": IMAGES[0, 0]}, r"x of shape \[5\]"),
        ({"x": IMAGES[:0]}, r"x of shape \[0, 6, 5\]"),
        ({"x": IMAGES.astype(np.int32) + 9}, r"whole numbers from 9 to 2\d\d as x"),
        ({"x": np.full((3, 2), np.nan)}, r"not finite"),
        ({"x": np.full((3, 2), "a")}, r"x of type <U1"),
        ({"x": IMAGES, "label": LABELS[:3]}, r"label has shape \[3\].*one for each x: \[40\]"),
        ({"x": IMAGES, "label": LABELS - 1}, r"whole numbers from 0 up"),
        ({"x": IMAGES, "label": LABELS / 2}, r"whole numbers from 0 up"),
        ({"x": IMAGES, "label": LABELS, "x_test": IMAGES}, r"some splits have labels"),
        ({"x": IMAGES, "x_test": IMAGES[:, :4]}, r"x of test has examples of shape \[4, 5, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(given, message):
    with pytest.raises(UserError, match=message):
        arrays.read(given)


def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no file .*gone\.npz; give --config\.data\.name=arrays:"):
        arrays.read_file(str(tmp_path / "gone.npz"))
    (tmp_path / "text.npz").write_text("not at all")
    with pytest.raises(UserError, match=r"text\.npz is no sound file"):
        arrays.read_file(str(tmp_path / "text.npz"))
    np.savez(tmp_path / "objects.npz", x=np.array([{}, []], dtype=object))
    with pytest.raises(UserError, match=r"no sound file of numbers"):
        arrays.read_file(str(tmp_path / "objects.npz"))
    whole = tmp_path / "cut.npz"
    np.savez(whole, x=IMAGES)
    whole.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(UserError, match=r"no sound file of numbers"):
        arrays.read_file(str(whole))
    with pytest.raises(UserError, match=r"preprocess 'dynamic_binarization' does not suit arrays"):
        sources.load(section("arrays"), {"x": np.ones((9, 3)) / 3})


def test_a_file_of_one_array_with_its_labels_beside_it(tmp_path):
    x, label = np.arange(400, dtype=np.uint8).reshape(100, 2, 2), np.arange(100) % 3
    np.save(tmp_path / "own.npy", x)
    assert "label" not in arrays.read_file(str(tmp_path / "own.npy")).splits["train"].arrays
    np.save(tmp_path / "own.label.npy", label)
    found = arrays.read_file(str(tmp_path / "own.npy"))
    np.testing.assert_array_equal(found.splits["train"].arrays["x"][..., 0], x)
    np.testing.assert_array_equal(found.splits["train"].arrays["label"], label)
    assert found.levels == 256 and found.class_names == ("0", "1", "2")
    (tmp_path / "own.label.npy").write_bytes(b"no")
    with pytest.raises(UserError, match=r"own\.label\.npy is no sound file"):
        arrays.read_file(str(tmp_path / "own.npy"))


@pytest.mark.parametrize(
    ("labels", "names"), [(["b", "a", "b"], ("a", "b")), (["10", "9", "10"], ("9", "10"))]
)
def test_a_table_of_vectors(tmp_path, labels, names):
    path = tmp_path / "own.csv"
    lines = [f"{i}.5,{word},{-i}" for i, word in enumerate(labels)]
    path.write_text("\n".join(["x, label, y", *lines]))
    found = arrays.read_file(str(path))
    x = found.splits["train"].arrays["x"]
    np.testing.assert_array_equal(x, [[0.5, 0], [1.5, -1], [2.5, -2]])
    assert found.class_names == names and x.dtype == np.float32
    np.testing.assert_array_equal(found.splits["train"].arrays["label"], [1, 0, 1])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x,y\n1,2\n3", "line 3: it must have 2 values"),
        ("x,y\n1,red", "line 2: it must have 2 values, numbers but for label"),
        ("x,y\n1,2,3", "line 2"),
        ("", "is no table"),
        ("x,y\n1,nan", "not finite"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path, text, told):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        arrays.read_file(str(path))
