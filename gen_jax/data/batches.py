"""A batch is a pure function of (seed, step), so a resume needs the step and nothing else."""

import functools
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from gen_jax.data.examples import Examples, Stored, chosen_rows


@functools.lru_cache(maxsize=64)
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(num_examples).astype(np.int32)


def epoch_indices(seed: int, num_examples: int, start: int, count: int) -> np.ndarray:
    """Places [start, start + count) of the endless row of shuffled epochs, int32 [count]."""
    epoch, offset = divmod(start, num_examples)
    parts = []
    while count > 0:
        part = _permutation(seed, epoch, num_examples)[offset : offset + count]
        parts.append(part)
        count, epoch, offset = count - len(part), epoch + 1, 0
    return np.concatenate(parts)


class TrainBatches:
    """The minibatches of a run, one dispatch of K steps at a time.

    Leaves of a dispatch are [K, T, B, ...] with T turns in a step, each with a minibatch of its
    own; several replicas add a leading axis, as each has a seed and so an order of its own. A
    training set within the limit lives on the devices (`data`) and a dispatch holds indices
    alone; a larger one is read on the host by grain's threads, ahead of the devices.

    Args:
      examples: the training split.
      seeds: one for each replica.
      batch_size: B, over all processes.
      num_turns: T.
      steps_per_dispatch: K.
      resident_limit_mb: the largest training set that is kept on the devices.
      rows: this process's share of every batch.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        seeds: Sequence[int],
        batch_size: int,
        num_turns: int,
        steps_per_dispatch: int,
        resident_limit_mb: int,
        rows: slice = slice(None),
    ):
        self.examples, self.seeds, self.rows = examples, tuple(seeds), rows
        self.shape = (steps_per_dispatch, num_turns, batch_size)
        self.resident = examples.nbytes <= resident_limit_mb * 2**20
        self.data = examples.resident() if self.resident else {}

    def dispatches(self, start_step: int, stop_step: int) -> Iterator[dict[str, np.ndarray]]:
        """Steps [start_step, stop_step), both multiples of K."""
        first, last = start_step // self.shape[0], stop_step // self.shape[0]
        if self.resident:
            yield from map(self._dispatch, range(first, last))
            return
        import grain

        numbers = grain.MapDataset.range(first, last)
        # A dispatch is large already: two are read ahead, one by each thread.
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
        yield from numbers.map(lambda n: self._dispatch(int(n))).to_iter_dataset(options)

    def _dispatch(self, number: int) -> dict[str, np.ndarray]:
        count = int(np.prod(self.shape))
        orders = [
            epoch_indices(seed, len(self.examples), number * count, count) for seed in self.seeds
        ]
        index = np.stack(orders).reshape(len(orders), *self.shape)[..., self.rows]
        index = index if len(orders) > 1 else index[0]
        if self.resident:
            return {"index": index}
        rows = self.examples.gather(index.reshape(-1))
        shaped = {name: row.reshape(*index.shape, *row.shape[1:]) for name, row in rows.items()}
        return {"index": index, **shaped}

    def fetch(self, data: dict, batch: dict) -> dict[str, jax.Array]:
        """Within a compiled step: the stored arrays [B, ...] of a minibatch of `_dispatch`.

        `data` is `self.data`, on the devices.
        """
        if self.resident:
            return self.examples.take(data, batch["index"])
        return {name: array for name, array in batch.items() if name != "index"}


def eval_batches(
    examples: Examples, batch_size: int, limit: int = 0
) -> Iterator[tuple[Stored, np.ndarray, np.ndarray]]:
    """The examples of `chosen_rows`, in batches of one size.

    It is at most the power of two that holds them all, so that few examples are not filled up to
    a large batch, and so that not every number of them is a shape of its own to compile for.

    Yields:
      stored arrays [B, ...], their index [B], and which of them count [B]: the last batch is
      filled up with copies of its last example.
    """
    rows = chosen_rows(examples, limit)
    batch_size = min(batch_size, 1 << (len(rows) - 1).bit_length())
    for start in range(0, len(rows), batch_size):
        place = np.arange(start, start + batch_size)
        index = rows[np.minimum(place, len(rows) - 1)]
        yield examples.gather(index), index, place < len(rows)
