"""Examples by name and windows by position, in memory, on the devices and streamed."""

import jax
import numpy as np
import pytest

from gen_jax.data.batches import TrainBatches
from gen_jax.data.examples import (
    ArrayExamples,
    LazyExamples,
    Relabelled,
    WindowExamples,
    all_rows,
    carve,
)
from gen_jax.data.spec import DataSpec

TEXT = np.frombuffer(b"to be or not to be, that is the question", np.uint8).astype(np.int32)


def test_any_named_array_is_gathered():
    arrays = {"x": np.arange(6).reshape(3, 2), "mask": np.eye(3), "source": np.zeros((3, 4))}
    examples = ArrayExamples("train", arrays)
    found = examples.gather(np.array([2, 0]))
    assert set(found) == set(arrays)
    np.testing.assert_array_equal(found["mask"], np.eye(3)[[2, 0]])
    rest, taken = carve(examples, "test", 1, 0)
    assert (len(rest), len(taken), taken.split) == (2, 1, "test")
    assert set(all_rows(rest)) == set(arrays)


def test_labels_may_all_be_one_number():
    arrays = {"x": np.arange(6).reshape(3, 2), "label": np.arange(3, dtype=np.int32)}
    examples = Relabelled(ArrayExamples("train", arrays), 10)
    index = np.array([2, 0])
    found, taken = examples.gather(index), examples.take(examples.resident(), index)
    for each in (found, taken, examples.subset("test", index).gather(np.arange(2))):
        np.testing.assert_array_equal(each["x"], arrays["x"][index])
        np.testing.assert_array_equal(each["label"], [10, 10])
    assert (len(examples), examples.split) == (3, "train")


@pytest.mark.parametrize("stride", [1, 5])
def test_windows_are_slices_of_the_text(stride):
    examples = WindowExamples.of_pieces("train", [TEXT], 7, stride)
    assert len(examples) == len(range(0, len(TEXT) - 7 + 1, stride))
    index = np.array([0, len(examples) - 1, 2])
    for row, start in zip(examples.gather(index)["x"], index * stride, strict=True):
        np.testing.assert_array_equal(row, TEXT[start : start + 7])
    # The last one ends within the text; the text is held once, however many there are.
    assert examples.start[-1] + 7 <= len(TEXT)
    assert examples.nbytes < 16 * len(TEXT) * TEXT.itemsize


def test_windows_keep_what_belongs_to_them():
    start = np.array([3, 0, 9], np.int32)
    examples = WindowExamples("train", TEXT, start, 4, {"label": np.array([7, 8, 9], np.int32)})
    found = examples.subset("test", np.array([2, 0])).gather(np.arange(2))
    np.testing.assert_array_equal(found["label"], [9, 7])
    np.testing.assert_array_equal(found["x"][0], TEXT[9:13])


def test_windows_of_pieces_stay_within_them():
    pieces = [np.arange(1, 9), np.arange(11, 14)]
    examples = WindowExamples.of_pieces("train", pieces, 5, 2, labels=np.array([4, 6]))
    found = examples.gather(np.arange(len(examples)))
    expected = [[1, 2, 3, 4, 5], [3, 4, 5, 6, 7], [11, 12, 13, 0, 0]]
    np.testing.assert_array_equal(found["x"], expected)
    assert found["length"].tolist() == [5, 5, 3] and found["label"].tolist() == [4, 4, 6]
    assert found["scored_from"].tolist() == [0, 0, 0]
    assert [pieces[n].tolist() for n in (0, 1)] == [
        examples.sequence[start:stop].tolist() for start, stop in examples.spans
    ]


@pytest.mark.parametrize("window, stride", [(5, 4), (5, 2), (4, 3), (30, 29), (7, 1)])
def test_every_element_but_the_first_counts_in_one_window(window, stride):
    pieces = [np.arange(100, 123), np.arange(200, 203), np.arange(300, 301), np.arange(400, 412)]
    examples = WindowExamples.of_pieces("test", pieces, window, stride, unscored=1, once=True)
    rows = examples.gather(np.arange(len(examples)))
    counted = []
    for x, first, stop in zip(rows["x"], rows["scored_from"], rows["length"], strict=True):
        counted += x[first:stop].tolist()
        # Each has as much before it as the windows promise, or all that there is.
        for place in range(first, stop):
            assert place >= min(window - stride, x[place] % 100)
    assert sorted(counted) == sorted(n for piece in pieces for n in piece[1:].tolist())


@pytest.mark.parametrize("limit_mb", [10, 0], ids=["resident", "streamed"])
def test_a_compiled_step_reads_windows_by_position(limit_mb):
    examples = WindowExamples.of_pieces("train", [TEXT], 6, 1)
    batches = TrainBatches(
        examples,
        seeds=(0,),
        batch_size=4,
        num_turns=1,
        steps_per_dispatch=3,
        resident_limit_mb=limit_mb,
    )
    fetch = jax.jit(batches.fetch)
    count = 0
    for dispatch in batches.dispatches(0, 6):
        assert limit_mb == 0 or set(dispatch) == {"index"}
        for step in range(3):
            batch = jax.tree.map(lambda x, step=step: x[step, 0], dispatch)
            found = fetch(batches.data, batch)["x"]
            expected = [TEXT[start : start + 6] for start in batch["index"]]
            np.testing.assert_array_equal(found, expected)
            count += 1
    assert count == 6


def test_tokens_reach_a_model_as_whole_numbers():
    spec = DataSpec("tokens", (7,), vocabulary=tuple(map(chr, range(128))))
    examples = WindowExamples.of_pieces("train", [TEXT], 7, 1)
    batch = spec.batch(examples.gather(np.arange(3)), None)
    assert batch["x"].dtype == np.int32 and batch["x"].shape == (3, 7)
    assert "".join(spec.vocabulary[token] for token in batch["x"][0]) == "to be o"
    assert spec.log_volume == 0 and not spec.is_image


def test_lazy_examples_are_read_when_they_are_asked_for():
    asked = []

    def read(rows):
        asked.append(rows)
        return {"x": np.zeros((len(rows), 2), np.uint8), "mask": rows}

    examples = LazyExamples("train", np.arange(10, 20), (2,), read).subset("b", np.array([3, 5]))
    assert not asked
    np.testing.assert_array_equal(examples.gather(np.array([1]))["mask"], [15])
    assert len(asked) == 1 and len(examples) == 2
