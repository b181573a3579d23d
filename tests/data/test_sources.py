"""Readers: what they find, how they split it, and what they say of bad files."""

import gzip
import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
from idx_files import write_idx
from own_data import data_config as config
from own_data import prepare, write_images

from gen_jax.data import sources
from gen_jax.data.examples import all_rows
from gen_jax.data.readers import synthetic
from gen_jax.data.readers import tfds as catalogue
from gen_jax.errors import UserError


def rows(examples):
    return {bytes(x) for x in all_rows(examples)["x"].astype(np.float32)}


def test_digits_are_split_once_and_for_all():
    first = sources.load(config("digits", num_validation=100))
    sizes = {name: len(split) for name, split in first.splits.items()}
    assert sizes == {"train": 1400, "validation": 100, "test": 297}
    assert first.spec.shape == (8, 8, 1) and first.spec.levels == 17
    assert first.spec.num_classes == 10
    other = sources.load(config("digits", num_validation=100, split_seed=1))
    same = sources.load(config("digits", num_validation=100))
    assert rows(first.splits["test"]) == rows(other.splits["test"])
    assert rows(first.splits["validation"]) == rows(same.splits["validation"])
    assert rows(first.splits["validation"]) != rows(other.splits["validation"])
    everything = [
        x for split in first.splits.values() for x in all_rows(split)["x"].reshape(-1, 64)
    ]
    from sklearn.datasets import load_digits

    assert sorted(map(tuple, everything)) == sorted(map(tuple, load_digits().data.astype(int)))


@pytest.mark.parametrize(("name", "modes"), [("ring", 8), ("grid", 25)])
def test_plane_has_the_moments_of_its_mixture(name, modes):
    dataset = sources.load(config(name, preprocess="none", num_validation=1000))
    centers, sd = synthetic.MODES[name]
    assert centers.shape == (modes, 2)
    train = all_rows(dataset.splits["train"])
    assert len(train["x"]) == 99_000 and len(dataset.splits["test"]) == 10_000
    for label in range(modes):
        points = train["x"][train["label"] == label]
        assert abs(len(points) / 99_000 - 1 / modes) < 0.01
        np.testing.assert_allclose(points.mean(0), centers[label], atol=6 * sd / len(points) ** 0.5)
        np.testing.assert_allclose(points.std(0), sd, rtol=0.06)
    if name == "ring":
        np.testing.assert_allclose(np.linalg.norm(centers, axis=1), 1)
    else:
        assert {tuple(c) for c in centers} == {
            (a, b) for a in range(-4, 5, 2) for b in range(-4, 5, 2)
        }


def test_idx_files_are_prepared_once_and_read_back(tiny_idx, tmp_path):
    settings = config("fashion_mnist", data_dir=str(tmp_path), manual_dir=str(tiny_idx))
    dataset = sources.load(settings)
    assert {n: len(s) for n, s in dataset.splits.items()} == {
        **{"train": 140, "validation": 20, "test": 64}
    }
    assert dataset.spec.shape == (28, 28, 1) and dataset.spec.class_names[9] == "Ankle boot"
    # What is read is what was in the files, images with their labels.
    raw = (tiny_idx / "fashion_mnist" / "t10k-images-idx3-ubyte").read_bytes()[16:]
    images = np.frombuffer(raw, np.uint8).reshape(64, 28, 28, 1)
    expected = {(bytes(x), i % 10) for i, x in enumerate(images)}
    test = all_rows(dataset.splits["test"])
    found = {(bytes(x), int(y)) for x, y in zip(test["x"], test["label"], strict=True)}
    assert found == expected
    # Prepared: the files are not needed any more.
    settings.manual_dir = str(tmp_path / "nothing")
    again = sources.load(settings)
    assert rows(again.splits["train"]) == rows(dataset.splits["train"])


def test_another_process_may_prepare_at_the_same_time(tiny_idx, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    prepare = tfds.core.DatasetBuilder.download_and_prepare

    def be_second(self):
        prepare(self)
        raise FileExistsError("cannot rename")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", be_second)
    settings = config("mnist", data_dir=str(tmp_path), manual_dir=str(tiny_idx))
    assert len(sources.load(settings).splits["test"]) == 64


def test_files_in_manual_dir_itself_and_compressed(tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    for split in ("train", "t10k"):
        for kind, array in (
            ("images-idx3", np.zeros((30, 28, 28))),
            ("labels-idx1", np.arange(30) % 10),
        ):
            path = manual / f"{split}-{kind}-ubyte"
            write_idx(path, array)
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    settings = config("mnist", data_dir=str(tmp_path / "data"), manual_dir=str(manual))
    settings.num_validation = 3
    assert len(sources.load(settings).splits["test"]) == 30


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def garbage(path):
    path.write_bytes(b"not an idx file" * 100)


def huge_header(path):
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))


def half_gzip(path):
    packed = gzip.compress(path.read_bytes())
    path.with_name(path.name + ".gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, garbage, huge_header, half_gzip, os.remove])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damaged_idx_files_are_named(tiny_idx, tmp_path, damage, file):
    manual = shutil.copytree(tiny_idx, tmp_path / "manual")
    damage(manual / "mnist" / file)
    settings = config("mnist", data_dir=str(tmp_path / "data"), manual_dir=str(manual))
    with pytest.raises(UserError, match=re.escape(file)) as error:
        sources.load(settings)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").glob("mnist/*"))


def test_counts_and_labels_must_fit(tiny_idx, tmp_path):
    manual = shutil.copytree(tiny_idx, tmp_path / "manual")
    labels = manual / "mnist" / "train-labels-idx1-ubyte"
    settings = config("mnist", data_dir=str(tmp_path / "data"), manual_dir=str(manual))
    write_idx(labels, np.zeros(159))
    with pytest.raises(UserError, match=r"160 images and .* 159 labels"):
        sources.load(settings)
    write_idx(labels, np.full(160, 10))
    with pytest.raises(UserError, match="train label 10; mnist has 10 classes"):
        sources.load(settings)


def test_missing_data_name_the_three_ways(tmp_path):
    settings = config("mnist", data_dir=str(tmp_path / "a"), manual_dir=str(tmp_path / "b"))
    with pytest.raises(UserError, match=r"data_dir.*manual_dir.*\[tfds\]") as error:
        sources.load(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(12, 10, 3), (9, 9, 1)])
def test_any_prepared_image_dataset_is_read_without_tensorflow(tmp_path, shape):
    """A set with encoded images, as TFDS prepares CIFAR-10, written in its own process."""
    names = '["cat", "dog"]'
    features = f'{{"image": f.Image(shape={shape}), "label": f.ClassLabel(names={names})}}'
    drawn = f"png(rng.integers(0, 256, {shape}).astype(np.uint8))"
    prepare(tmp_path, "toy_pets", features, f'{{"image": {drawn}, "label": i % 2}}')
    dataset = sources.load(config("toy_pets", data_dir=str(tmp_path), num_validation=5))
    assert dataset.spec.shape == shape and dataset.spec.class_names == ("cat", "dog")
    assert {n: len(s) for n, s in dataset.splits.items()} == {
        **{"train": 40, "validation": 5, "test": 5}
    }
    rng = np.random.default_rng(0)
    written = {bytes(rng.integers(0, 256, shape).astype(np.uint8)) for _ in range(50)}
    found = {bytes(x) for split in dataset.splits.values() for x in all_rows(split)["x"]}
    assert found == written
    small = config("toy_pets", data_dir=str(tmp_path), image_size=6, resident_limit_mb=0)
    assert sources.load(small).spec.shape[:2] == (6, 6)
    assert "tensorflow" not in sys.modules


TENSORS = {
    "np.bool_": (2, "dynamic_binarization", lambda i: i % 2),
    "np.uint8": (256, "bytes", lambda i: i),
    "np.uint16": (256, "bytes", lambda i: round(i * 1000 / 257)),
    "np.float32": (0, "none", lambda i: np.float32(i / 3)),
}


def test_tensors_keep_the_levels_that_their_type_has(tmp_path):
    values = {
        "np.bool_": "i % 2 == 1",
        "np.uint8": "i",
        "np.uint16": "1000 * i",
        "np.float32": "i / 3",
    }
    for dtype, (levels, preprocess, stored) in TENSORS.items():
        name = f"toy_{dtype.removeprefix('np.')}"
        features = f'{{"image": f.Tensor(shape=(2, 2, 1), dtype={dtype})}}'
        filled = f'{{"image": np.full((2, 2, 1), {values[dtype]}, {dtype})}}'
        prepare(tmp_path, name, features, filled, count=40)
        own = {"data_dir": str(tmp_path), "num_validation": 5, "preprocess": preprocess}
        dataset = sources.load(config(name, **own))
        assert dataset.spec.levels == levels
        found = [all_rows(split)["x"] for split in dataset.splits.values()]
        expected = np.sort([stored(i) for i in range(40)])
        np.testing.assert_array_equal(np.sort(np.concatenate(found)[:, 0, 0, 0]), expected)
        if not levels:
            with pytest.raises(UserError, match="are not resized; leave out"):
                sources.load(config(name, **own, image_size=4))


def test_which_of_several_labels(tmp_path):
    """As cifar100 has a coarse and a fine one, in the order of the alphabet."""
    features = """{"image": f.Tensor(shape=(2, 2, 1), dtype=np.uint8),
        "coarse": f.ClassLabel(num_classes=2), "label": f.ClassLabel(num_classes=10)}"""
    example = '{"image": np.full((2, 2, 1), i, np.uint8), "coarse": i % 2, "label": i % 10}'
    prepare(tmp_path, "toy_two", features, example)
    prepare(tmp_path, "toy_told", features, example, supervised=("image", "label"))

    def labels(name, **own):
        dataset = sources.load(config(name, data_dir=str(tmp_path), num_validation=5, **own))
        stored = all_rows(dataset.splits["train"])
        return dataset.spec.num_classes, set(stored.get("label", ()))

    told = r"toy_two has the labels coarse, label; say which by --config.data.label=coarse, or none"
    with pytest.raises(UserError, match=told):
        labels("toy_two")
    assert labels("toy_told") == (10, set(range(10)))
    assert labels("toy_told", label="coarse") == labels("toy_two", label="coarse") == (2, {0, 1})
    assert labels("toy_two", label="none")[0] == 0
    with pytest.raises(UserError, match=r"data.label='fine': toy_two has the labels coarse, label"):
        labels("toy_two", label="fine")


def test_a_damaged_shard_is_named(tmp_path):
    features = '{"image": f.Tensor(shape=(4, 4, 1), dtype=np.uint8)}'
    prepare(tmp_path, "toy_hurt", features, '{"image": np.full((4, 4, 1), i, np.uint8)}', count=200)
    (shard,) = tmp_path.glob("toy_hurt/1.0.0/*array_record*")
    whole = shard.read_bytes()
    flipped = bytearray(whole)
    flipped[200 : len(whole) // 2 : 7] = b"x" * len(range(200, len(whole) // 2, 7))
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b""):
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{re.escape(str(shard))} is damaged") as error:
            sources.load(config("toy_hurt", data_dir=str(tmp_path)))
        assert "\n" not in str(error.value)


def test_record_formats_that_need_tensorflow_are_refused(tmp_path):
    folder = tmp_path / "old_set" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"fileFormat": "tfrecord"}))
    with pytest.raises(UserError, match="prepare it with file_format='array_record'"):
        sources.load(config("old_set", data_dir=str(tmp_path)))


def test_the_newest_version_is_read(tmp_path):
    for version in ("9.0.0", "10.0.0", "2.11.0"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "dataset_info.json").write_text("{}")
    found = catalogue._prepared("mnist", config("mnist", data_dir=str(tmp_path)))
    assert found.name == "10.0.0"


def test_half_prepared_folders_are_not_taken_for_data(tmp_path):
    folder = tmp_path / "mnist" / "incomplete.ABC_3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    assert catalogue._prepared("mnist", config("mnist", data_dir=str(tmp_path))) is None


def test_anomalies_are_a_test_split_or_a_whole_folder(tmp_path):
    both = sources.load(config("ring", preprocess="none", anomalies="grid"))
    grid = sources.load(config("grid", preprocess="none"))
    assert rows(both.splits["anomalies"]) == rows(grid.splits["test"])
    assert both.splits["anomalies"].split == "grid/test" and both.splits["test"].split == "test"
    write_images(tmp_path / "good", [(6, 6)] * 10)
    write_images(tmp_path / "broken", [(6, 6)] * 2)
    broken = {"anomalies": f"folder:{tmp_path / 'broken'}"}
    splits = sources.load(config(f"folder:{tmp_path / 'good'}", **broken)).splits
    assert len(splits["anomalies"]) == 4
    assert sum(len(split) for split in splits.values()) == 20 + 4
    with pytest.raises(UserError, match=r"shape \(8, 8, 1\) with 256 levels, and digits of"):
        sources.load(config("digits", **broken))
    write_images(tmp_path / "large", [(12, 20)] * 10)
    splits = sources.load(
        config(f"folder:{tmp_path / 'large'}", grayscale=True, image_size=10, **broken)
    ).splits
    found = splits["anomalies"].gather(np.arange(4))["x"]  # brought to the form of the data
    assert found.shape == (4, 10, 10, 1) and found.std() > 1


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("digit", {}, "did you mean digits"),
        ("digits", {"preprocess": "none"}, "use --config.data.preprocess=dynamic_b"),
        ("ring", {"preprocess": "bytes"}, "use --config.data.preprocess=none"),
        ("digits", {"num_validation": 1500}, "from 1 to 1499"),
        ("digits", {"num_validation": 0}, "choose --config.data.num_validation"),
    ],
)
def test_bad_settings_are_refused(name, changes, expected):
    with pytest.raises(UserError, match=expected):
        sources.load(config(name, **changes))


def test_the_real_mnist(tmp_path):
    if not os.environ.get("GEN_JAX_MANUAL_DIR"):
        pytest.skip("GEN_JAX_MANUAL_DIR does not name a folder with MNIST's idx files")
    dataset = sources.load(config("mnist", data_dir=str(tmp_path), num_validation=10_000))
    assert {n: len(s) for n, s in dataset.splits.items()} == {
        **{"train": 50_000, "validation": 10_000, "test": 10_000}
    }
    counts = np.bincount(all_rows(dataset.splits["test"])["label"])
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    mean = np.mean([all_rows(dataset.splits[s])["x"].mean() for s in ("train",)])
    assert abs(mean - 33.32) < 0.1
