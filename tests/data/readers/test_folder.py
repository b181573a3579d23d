"""Folders of images: what is read of them, how they are split, what is passed over."""

import os
import re

import numpy as np
import pytest
from own_data import data_config as config
from own_data import write_images
from PIL import Image

from gen_jax.data import sources
from gen_jax.data.examples import all_rows
from gen_jax.data.readers import images
from gen_jax.errors import UserError


@pytest.fixture(autouse=True)
def _says_all():
    """What is said once in a process is said once in each test."""
    images.say_once.cache_clear()


def test_folder_with_classes(tmp_path):
    write_images(tmp_path, [(7, 5)] * 10)
    dataset = sources.load(config(f"folder:{tmp_path}", num_validation=4))
    assert dataset.spec.shape == (7, 5, 3) and dataset.spec.class_names == ("a", "b")
    assert sum(len(split) for split in dataset.splits.values()) == 20
    first = dataset.splits["train"].gather(np.array([0]))
    path = sorted(tmp_path.glob("*/*.png"))[dataset.splits["train"].rows[0]]
    np.testing.assert_array_equal(first["x"][0], np.asarray(Image.open(path)))
    assert first["label"][0] == "ab".index(path.parent.name)


def test_folder_without_classes_in_grey_and_resized(tmp_path):
    write_images(tmp_path, [(20 + i, 30) for i in range(12)], folders=(".",))
    dataset = sources.load(
        config(f"folder:{tmp_path}", num_validation=2, image_size=8, grayscale=True)
    )
    assert dataset.spec.shape == (8, 8, 1) and dataset.spec.num_classes == 0
    assert set(all_rows(dataset.splits["train"])["label"]) == {0}


def test_folder_with_splits(tmp_path):
    for split, count in (("train", 9), ("test", 3)):
        write_images(tmp_path / split, [(6, 6)] * count, folders=("x",))
    dataset = sources.load(config(f"folder:{tmp_path}", num_validation=2))
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    assert sizes["test"] == 3 and sizes["train"] + sizes["validation"] == 9


def test_crop_keeps_the_middle_and_squeezing_keeps_all(tmp_path):
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = 255
    for index in range(12):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    loaded = {}
    for crop in (True, False):
        settings = config(f"folder:{tmp_path}", num_validation=1, image_size=4, crop=crop)
        loaded[crop] = sources.load(settings).splits["train"].gather(np.array([0]))["x"][0]
    assert (loaded[True] == 255).all()
    assert loaded[False].mean() == pytest.approx(255 / 3, abs=1)


def test_folder_errors_name_the_fix(tmp_path):
    with pytest.raises(UserError, match="no folder /nowhere"):
        sources.load(config("folder:/nowhere"))
    with pytest.raises(UserError, match=r"no images in .*\.png"):
        sources.load(config(f"folder:{tmp_path}"))
    write_images(tmp_path, [(7, 5)] * 6 + [(7, 6)] * 6, folders=("a",))
    with pytest.raises(UserError, match=r"--config.data.image_size=64"):
        all_rows(sources.load(config(f"folder:{tmp_path}", num_validation=2)).splits["train"])
    damaged = tmp_path / "a" / "00.png"
    os.truncate(damaged, 40)
    with pytest.raises(UserError, match=f"{re.escape(str(damaged))} is not a whole image"):
        sources.load(config(f"folder:{tmp_path}", num_validation=2))


def names(dataset):
    """{split: the names of its files}."""
    return {
        split: {examples.names[row] for row in examples.rows}
        for split, examples in dataset.splits.items()
    }


@pytest.mark.parametrize("come", [1, 30, 200])
def test_a_file_stays_in_its_split_when_others_come_and_go(tmp_path, come):
    write_images(tmp_path, [(4, 4)] * 50)
    before = names(sources.load(config(f"folder:{tmp_path}")))
    assert all(2 <= len(before[split]) <= 20 for split in ("validation", "test"))
    (tmp_path / "a" / "07.png").unlink()
    for number in range(come):
        Image.new("RGB", (4, 4)).save(tmp_path / "a" / f"new_{number}.png")
    after = names(sources.load(config(f"folder:{tmp_path}")))
    for split, files in before.items():
        assert files - {"a/07.png"} <= after[split], split
    assert sum(map(len, after.values())) == 99 + come
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}_moved"))
    assert names(sources.load(config(f"folder:{moved}"))) == after
    other = names(sources.load(config(f"folder:{moved}", split_seed=1)))
    assert other["validation"] != after["validation"] and other["test"] == after["test"]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_few_files_give_no_empty_split(tmp_path, size):
    write_images(tmp_path, [(4, 4)] * size, folders=(".",))
    if size == 2:  # nothing is left for a third split
        with pytest.raises(UserError, match="validation cannot take"):
            sources.load(config(f"folder:{tmp_path}"))
    else:
        splits = sources.load(config(f"folder:{tmp_path}")).splits
        assert all(len(split) for split in splits.values())


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_folders_of_splits_have_several_names(tmp_path, validation):
    for split, count in (("Train", 9), (validation, 4), ("test", 3)):
        write_images(tmp_path / split, [(6, 6)] * count, folders=("x",))
    splits = sources.load(config(f"folder:{tmp_path}")).splits
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [9, 4, 3]


def test_two_folders_of_one_split_are_refused(tmp_path):
    for split in ("train", "val", "validation"):
        write_images(tmp_path / split, [(6, 6)] * 3, folders=("x",))
    with pytest.raises(UserError, match=r"has val.* and val.*, both of the split validation"):
        sources.load(config(f"folder:{tmp_path}"))


def test_what_is_hidden_is_passed_over_and_told(tmp_path, capsys):
    write_images(tmp_path, [(4, 4)] * 10)
    write_images(tmp_path, [(4, 4)] * 2, folders=(".ipynb_checkpoints", "__MACOSX", "a/.cache"))
    for name in ("a/._00.png", "a/.DS_Store", "b/notes.txt", "a/Thumbs.db"):
        (tmp_path / name).write_bytes(b"no image")
    Image.new("RGB", (4, 4)).save(tmp_path / "logo.png")
    dataset = sources.load(config(f"folder:{tmp_path}"))
    assert dataset.spec.class_names == ("a", "b")
    assert sum(len(split) for split in dataset.splits.values()) == 20
    said = capsys.readouterr().out
    assert f"{tmp_path}: 20 in train, 2 classes (a, b)" in said
    assert "2 no image by their names" in said and "hidden" in said
    assert "1 beside the folders of the classes" in said


def test_pictures_deeper_down_are_of_their_class(tmp_path):
    write_images(tmp_path, [(4, 4)] * 5, folders=("cat/2020/may", "cat", "dog/2021"))
    dataset = sources.load(config(f"folder:{tmp_path}"))
    assert dataset.spec.class_names == ("cat", "dog")
    labels = [label for split in dataset.splits.values() for label in all_rows(split)["label"]]
    assert sorted(labels) == [0] * 10 + [1] * 5


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    folders = [str(number) for number in range(11)]
    write_images(tmp_path, [(4, 4)] * 3, folders=folders)
    dataset = sources.load(config(f"folder:{tmp_path}"))
    assert dataset.spec.class_names == tuple(folders)
    for split, files in names(dataset).items():
        labels = all_rows(dataset.splits[split])["label"]
        assert sorted(labels) == sorted(int(file.partition("/")[0]) for file in files)


def test_an_image_of_no_class_of_train_is_refused(tmp_path):
    for split, folders in (("train", ("cat", "dog")), ("test", ("dog", "zebra"))):
        write_images(tmp_path / split, [(6, 6)] * 4, folders=folders)
    with pytest.raises(UserError, match=r"zebra/00.png is in none of the classes.*cat, dog"):
        sources.load(config(f"folder:{tmp_path}"))
