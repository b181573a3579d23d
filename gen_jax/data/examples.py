"""The examples of a split: random access to stored arrays, in memory or on demand."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gen_jax.data.spec import Batch, DataSpec, fixed_keys
from gen_jax.errors import UserError

Stored = dict[str, np.ndarray]  # {"x": [N, *shape], "label": [N], ...} as they are stored


class Examples(Protocol):
    """One split.

    Attributes:
      split: "train", "validation" or "test".
      nbytes: memory that `resident` takes.
    """

    split: str
    nbytes: int

    def __len__(self) -> int: ...

    def gather(self, index: np.ndarray) -> Stored:
        """Examples `index` [n]: named arrays [n, ...]; label, int32, where there are labels."""

    def resident(self) -> Mapping[str, np.ndarray]:
        """What `take` reads, to be held on the devices."""

    def take(self, resident: Mapping[str, Any], index: Any) -> dict[str, Any]:
        """`gather` from what `resident` gave; within a compiled step too."""

    def subset(self, split: str, rows: np.ndarray) -> "Examples":
        """A split of some of the examples."""


def all_rows(examples: Examples) -> Stored:
    """Every example."""
    return examples.gather(np.arange(len(examples)))


def batch(spec: DataSpec, examples: Examples, index: Sequence[int]) -> Batch:
    """Examples `index` [B] as models are given them, with their fixed draw of randomness."""
    index = np.asarray(index, np.int32)
    return spec.batch(examples.gather(index), fixed_keys(examples.split, index))


@dataclasses.dataclass(frozen=True)
class ArrayExamples:
    """Examples in memory.

    Attributes:
      split: name of the split.
      arrays: x [N, *shape], label [N] int32, and what else an example has, [N, ...] each.
    """

    split: str
    arrays: Stored

    def __len__(self) -> int:
        return len(self.arrays["x"])

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    def gather(self, index: np.ndarray) -> Stored:
        return self.take(self.arrays, index)

    def resident(self) -> Stored:
        return self.arrays

    def take(self, resident, index):
        return {name: array[index] for name, array in resident.items()}

    def subset(self, split: str, rows: np.ndarray) -> "ArrayExamples":
        return ArrayExamples(split, self.gather(rows))


@dataclasses.dataclass(frozen=True)
class LazyExamples:
    """Examples that are read when they are asked for.

    Attributes:
      split: name of the split.
      rows: numbers of this split's examples within the source.
      shape: of one example's x.
      read: numbers [n] -> x [n, *shape] uint8, label [n] int32, and what else there is.
    """

    split: str
    rows: np.ndarray
    shape: tuple[int, ...]
    read: Callable[[np.ndarray], Stored]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        return len(self.rows) * int(np.prod(self.shape))

    def gather(self, index: np.ndarray) -> Stored:
        return self.read(self.rows[index])

    def resident(self) -> Stored:
        return self.gather(np.arange(len(self)))

    def take(self, resident, index):
        return {name: array[index] for name, array in resident.items()}

    def subset(self, split: str, rows: np.ndarray) -> "LazyExamples":
        return dataclasses.replace(self, split=split, rows=self.rows[rows])


@dataclasses.dataclass(frozen=True)
class WindowExamples:
    """Windows of one long sequence, a text or a sound, which is held once whatever their number.

    Attributes:
      split: name of the split.
      sequence: [N, ...], tokens or samples of sound.
      start: where each window begins, int32 [n].
      length: T, of a window; x is [T, ...].
      arrays: what else a window has, as its label: [n, ...] each.
    """

    split: str
    sequence: np.ndarray
    start: np.ndarray
    length: int
    arrays: Stored = dataclasses.field(default_factory=dict)

    @classmethod
    def every(
        cls, split: str, sequence: np.ndarray, length: int, stride: int = 1
    ) -> "WindowExamples":
        """All windows that begin at a multiple of `stride` and are whole.

        Raises:
          UserError: if there is none.
        """
        if len(sequence) < length:
            raise UserError(
                f"{split} has {len(sequence)} symbols, fewer than a window of {length}; choose "
                "a smaller one"
            )
        start = np.arange(0, len(sequence) - length + 1, stride, dtype=np.int32)
        return cls(split, sequence, start, length)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.resident().values())

    def gather(self, index: np.ndarray) -> Stored:
        return self.take(self.resident(), index)

    def resident(self) -> Stored:
        return {"sequence": self.sequence, "start": self.start, **self.arrays}

    def take(self, resident, index):
        place = resident["start"][index][:, None] + np.arange(self.length)
        windows = {"x": resident["sequence"][place]}
        return windows | {name: resident[name][index] for name in self.arrays}

    def subset(self, split: str, rows: np.ndarray) -> "WindowExamples":
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return dataclasses.replace(self, split=split, start=self.start[rows], arrays=arrays)


def carve(examples: Examples, name: str, count: int, seed: int) -> tuple[Examples, Examples]:
    """Takes `count` examples, chosen by a seed, out of a split -> (the rest, the new split).

    Raises:
      UserError: if nothing would be left on one side.
    """
    if not 0 < count < len(examples):
        raise UserError(
            f"{name} cannot take {count} of {len(examples)} examples; "
            f"choose --config.data.num_validation from 1 to {len(examples) - 1}"
        )
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(examples))
    taken, rest = np.sort(order[:count]), np.sort(order[count:])
    return examples.subset(examples.split, rest), examples.subset(name, taken)


@dataclasses.dataclass(frozen=True)
class Source:
    """What a reader finds, before validation is carved and x is given a meaning.

    Attributes:
      splits: {split: Examples}, at least "train".
      shape: of one example.
      levels: grey levels; 0 for real numbers and tokens.
      class_names: one for each label.
      vocabulary: the symbol of each token, of sequences of tokens.
      given: what else an example has for a model to be conditioned on.
      fingerprint: of data that have no place of their own, so that a run is not resumed on others.
    """

    splits: dict[str, Examples]
    shape: tuple[int, ...]
    levels: int = 0
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    given: Mapping[str, DataSpec] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
