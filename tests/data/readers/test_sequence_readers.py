"""Texts, sounds and music: what is read, how it is divided, and what is refused."""

import numpy as np
import pytest
from sequence_files import write_clip, write_music

from gen_jax import config as config_lib
from gen_jax import sound
from gen_jax.data import sources
from gen_jax.errors import UserError
from gen_jax.evaluation import counting


def load(name, window=9, context=1, preprocess="none", **changes):
    config = config_lib.default_config("autoregressive").data
    config.update(
        {"name": name, "window": window, "context": context, "preprocess": preprocess, **changes}
    )
    return sources.load(config)


def test_a_text_is_divided_in_its_order(tmp_path):
    text = "".join(chr(97 + i % 7) for i in range(400)) + "é\n" * 100
    (tmp_path / "a.txt").write_text(text)
    data = load(f"text:{tmp_path / 'a.txt'}")
    assert data.spec.vocabulary == tuple(sorted({*text})) and data.spec.medium == "text"
    read = {
        split: "".join(data.spec.vocabulary[n] for n in counting.pieces(data.splits[split])[0])
        for split in ("validation", "train", "test")
    }
    assert "".join(read.values()) == text
    assert {split: len(part) for split, part in read.items()} == {
        "validation": 30,
        "train": 510,
        "test": 60,
    }
    assert len(data.splits["train"]) == 510 - 9 + 1
    # The batch that a model gets is whole numbers.
    batch = data.batch("test", [0, 1])
    assert batch["x"].dtype == np.int32 and batch["x"].shape == (2, 9)
    assert batch["scored_from"].tolist() == [1, 1]


def test_lines_end_with_their_break(tmp_path):
    (tmp_path / "a.txt").write_text("ann\n\nbo\nclaire\nd\n" * 20)
    data = load(f"lines:{tmp_path / 'a.txt'}", num_validation=8)
    assert data.spec.shape == (7,) and data.spec.vocabulary[0] == "\n"
    assert {split: len(part) for split, part in data.splits.items()} == {
        "train": 64,
        "validation": 8,
        "test": 8,
    }
    rows = data.splits["train"].gather(np.arange(64))
    for x, length in zip(rows["x"], rows["length"], strict=True):
        assert x[length - 1] == 0 and (x[length:] == 0).all() and (x[: length - 1] > 0).all()
    assert (rows["scored_from"] == 0).all()


def test_made_data_are_the_same_every_time():
    text, again = (load("grammar") for _ in range(2))
    whole = counting.pieces(text.splits["train"])[0]
    np.testing.assert_array_equal(whole, counting.pieces(again.splits["train"])[0])
    line = "".join(text.spec.vocabulary[n] for n in whole).split("\n")[1]
    assert line[0].isupper() and line.endswith(".") and len(line.split()) >= 3
    music = load("chords", preprocess="fixed_binarization")
    assert music.spec.shape == (9, 88) and music.spec.kind == "binary" and music.spec.rate == 4
    batch = music.batch("train", np.arange(50))
    raw = music.splits["train"].gather(np.arange(50))["x"]
    np.testing.assert_array_equal(batch["x"], raw)  # nothing is drawn of what is 0 or 1
    assert set(raw.sum(-1).reshape(-1)) <= {3, 4}
    notes = load("notes", window=200, preprocess="bytes")
    assert notes.spec.class_names == ("C", "D", "E", "G", "A") and notes.spec.rate == 4_000
    assert notes.batch("test", [0])["x"].shape == (1, 200)


def test_spoken_digits_have_their_official_test_set(tmp_path, capsys):
    for digit in range(2):
        for speaker in ("ann", "bo"):
            for index in range(10):
                clip = np.full(30, 0.1 * digit + 0.01 * index)
                write_clip(tmp_path / f"{digit}_{speaker}_{index}.wav", clip)
    data = load(f"audio:{tmp_path}", preprocess="bytes")
    assert data.spec.class_names == ("0", "1") and data.spec.medium == "sound"
    pieces = {split: counting.pieces(data.splits[split]) for split in data.splits}
    assert {split: len(own) for split, own in pieces.items()} == {
        "train": 8,
        "validation": 12,
        "test": 20,
    }
    levels = sorted({float(sound.from_mu_law(piece[0])) for piece in pieces["test"]})
    expected = sorted(0.1 * digit + 0.01 * index for digit in range(2) for index in range(5))
    np.testing.assert_allclose(levels, expected, atol=3e-3)
    rows = data.splits["test"].gather(np.arange(len(data.splits["test"])))
    of_digit = sound.from_mu_law(rows["x"][:, 0]) > 0.07
    np.testing.assert_array_equal(rows["label"], of_digit)
    speakers = load(f"audio:{tmp_path}", preprocess="bytes", label="speaker")
    assert speakers.spec.class_names == ("ann", "bo")
    slower = load(f"audio:{tmp_path}", preprocess="bytes", rate=2_000.0)
    assert len(counting.pieces(slower.splits["test"])[0]) == 15
    assert "resampled to 2,000 Hz by scipy.signal.resample_poly" in capsys.readouterr().out


def test_folders_of_sounds_are_classes_and_divided_by_name(tmp_path):
    for name in ("cat", "dog"):
        for number in range(40):
            write_clip(tmp_path / name / f"{number}.wav", np.zeros(20))
    data = load(f"audio:{tmp_path}", preprocess="bytes")
    assert data.spec.class_names == ("cat", "dog")
    before = {split: len(part) for split, part in data.splits.items()}
    assert sum(len(counting.pieces(part)) for part in data.splits.values()) == 80
    assert min(before.values()) > 0


def test_music_is_read_by_its_splits(tmp_path):
    write_music(tmp_path / "a.mat", (20, 88))
    data = load(f"music:{tmp_path / 'a.mat'}", preprocess="fixed_binarization", rate=2.0)
    assert {split: len(counting.pieces(part)) for split, part in data.splits.items()} == {
        "train": 3,
        "validation": 3,
        "test": 3,
    }
    assert data.spec.rate == 2 and data.spec.shape == (9, 88)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: write_music(path, (20, 60)), r"shape \[20, 60\]; it needs traindata"),
        (lambda path: write_music(path, (20, 88), values=(2, 2)), "it needs traindata"),
        (lambda path: write_music(path, (20, 88), ("traindata", "testdata")), "no validdata"),
        (lambda path: path.write_bytes(b"MATLAB"), r"no sound \.mat file"),
        (lambda path: None, "no music .*manual_dir"),
    ],
)
def test_what_is_no_music_is_refused(tmp_path, make, message):
    make(tmp_path / "a.mat")
    with pytest.raises(UserError, match=message):
        load(f"music:{tmp_path / 'a.mat'}", preprocess="fixed_binarization")


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"short", "has 0 characters for validation"),
        (None, "no text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.txt").write_bytes(text)
    with pytest.raises(UserError, match=message):
        load(f"text:{tmp_path / 'a.txt'}")


def test_other_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match=r"data\.context=9 must be less than data\.window=9"):
        load("grammar", context=9)
    with pytest.raises(UserError, match="has no wav files"):
        load(f"audio:{tmp_path}", preprocess="bytes")
    with pytest.raises(UserError, match=r"use --config\.data\.preprocess=bytes"):
        load("notes")
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="has 2 lines"):
        load(f"lines:{tmp_path / 'a.txt'}")


def test_files_are_found_in_the_folder_of_those_fetched_by_hand(tmp_path):
    (tmp_path / "a.txt").write_text("abc\n" * 200)
    data = load("text:a.txt", manual_dir=str(tmp_path))
    assert data.spec.vocabulary == ("\n", "a", "b", "c")
