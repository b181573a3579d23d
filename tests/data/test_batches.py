"""A batch is a pure function of (seed, step)."""

import itertools

import numpy as np
import pytest

from gen_jax.data.batches import TrainBatches, epoch_indices, eval_batches
from gen_jax.data.examples import ArrayExamples, LazyExamples
from gen_jax.errors import UserError


def examples(num=23):
    x = np.arange(num * 6, dtype=np.uint8).reshape(num, 3, 2, 1)
    return ArrayExamples("train", {"x": x, "label": np.arange(num, dtype=np.int32)})


def make(source=None, seeds=(0,), limit_mb=10, **changes):
    options = {"batch_size": 4, "num_turns": 3, "steps_per_dispatch": 5} | changes
    source = source or examples()
    return TrainBatches(source, seeds=seeds, resident_limit_mb=limit_mb, **options)


def test_every_epoch_is_a_permutation_of_its_own():
    order = epoch_indices(7, 23, 0, 23 * 4).reshape(4, 23)
    assert (np.sort(order, 1) == np.arange(23)).all()
    assert len({tuple(epoch) for epoch in order}) == 4
    assert tuple(epoch_indices(8, 23, 0, 23)) != tuple(order[0])


def test_order_does_not_depend_on_how_it_is_asked_for():
    whole = epoch_indices(0, 23, 0, 200)
    for start, count in ((0, 1), (22, 2), (5, 60), (46, 23), (199, 1)):
        np.testing.assert_array_equal(epoch_indices(0, 23, start, count), whole[start:][:count])


def test_turns_and_steps_walk_through_the_order():
    (first, second) = make().dispatches(0, 10)
    assert first["index"].shape == (5, 3, 4) and set(first) == {"index"}
    both = np.concatenate([first["index"].reshape(-1), second["index"].reshape(-1)])
    np.testing.assert_array_equal(both, epoch_indices(0, 23, 0, 120))


def test_replicas_have_orders_of_their_own():
    (batch,) = make(seeds=(0, 5)).dispatches(5, 10)
    assert batch["index"].shape == (2, 5, 3, 4)
    for replica, seed in enumerate((0, 5)):
        (alone,) = make(seeds=(seed,)).dispatches(5, 10)
        np.testing.assert_array_equal(batch["index"][replica], alone["index"])


def test_processes_read_their_own_rows():
    (whole,) = make().dispatches(0, 5)
    parts = [next(make(rows=slice(i, i + 2)).dispatches(0, 5))["index"] for i in (0, 2)]
    np.testing.assert_array_equal(np.concatenate(parts, -1), whole["index"])


@pytest.mark.parametrize("seeds", [(0,), (3, 4)])
def test_streamed_batches_are_the_rows_of_the_resident_ones(seeds):
    resident, streamed = make(seeds=seeds), make(seeds=seeds, limit_mb=0)
    assert resident.resident and not streamed.resident and not streamed.data
    pairs = itertools.zip_longest(resident.dispatches(10, 40), streamed.dispatches(10, 40))
    count = 0
    for here, there in pairs:
        np.testing.assert_array_equal(here["index"], there["index"])
        np.testing.assert_array_equal(examples().arrays["x"][here["index"]], there["x"])
        np.testing.assert_array_equal(here["index"], there["label"])
        count += 1
    assert count == 6


def test_an_error_in_the_stream_surfaces():
    def read(rows):
        raise UserError("bad.png is not a whole image")

    source = LazyExamples("train", np.arange(23), (3, 2, 1), read)
    with pytest.raises(UserError, match=r"bad\.png"):
        list(make(source, limit_mb=0).dispatches(0, 5))


def test_evaluation_covers_each_example_once():
    batches = list(eval_batches(examples(), 10))
    assert [stored["x"].shape[0] for stored, _, _ in batches] == [10, 10, 10]
    seen = np.concatenate([index[counts] for _, index, counts in batches])
    np.testing.assert_array_equal(seen, np.arange(23))
    limited = list(eval_batches(examples(), 10, limit=12))
    assert sum(counts.sum() for _, _, counts in limited) == 12
    few = list(eval_batches(examples(), 100_000))
    assert [stored["x"].shape[0] for stored, _, _ in few] == [32]


def test_some_examples_of_a_split_that_is_sorted_are_of_all_its_classes():
    label = np.repeat(np.arange(10, dtype=np.int32), 100)
    sorted_ = ArrayExamples("test", {"x": np.zeros((1000, 2, 2, 1), np.uint8), "label": label})
    found = [
        np.concatenate([stored["label"][counts] for stored, _, counts in batches])
        for batches in (eval_batches(sorted_, size, limit=100) for size in (7, 100))
    ]
    np.testing.assert_array_equal(*found)
    assert np.bincount(found[0], minlength=10).min() > 2
