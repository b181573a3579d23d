"""The examples of a split: random access to stored arrays, in memory or on demand."""

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.spec import Batch, DataSpec, fixed_keys
from gen_jax.errors import UserError

# Of examples with names, what a split takes that is carved out of another.
HASHED_SHARE = 0.1

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


def choose(size: int, num: int) -> np.ndarray:
    """`num` of `size` rows, without repeats, by a fixed seed and in a random order.

    The first few would not do: many sets are stored class by class.
    """
    return np.random.Generator(np.random.Philox(key=0)).permutation(size)[:num].astype(np.int32)


def chosen_rows(examples: Examples, limit: int) -> np.ndarray:
    """The rows of a split that are looked at: all, or `limit` of them if it is not 0.

    They are in the split's order, and the same ones every time: see `choose`.
    """
    return np.sort(choose(len(examples), limit or len(examples)))


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
class Relabelled:
    """Examples whose labels are all the same number.

    Attributes:
      examples: what they are but for that.
      label: the number.
    """

    examples: Examples
    label: int

    @property
    def split(self) -> str:
        return self.examples.split

    @property
    def nbytes(self) -> int:
        return self.examples.nbytes

    def __len__(self) -> int:
        return len(self.examples)

    def gather(self, index):
        return {**self.examples.gather(index), "label": np.full(len(index), self.label, np.int32)}

    def resident(self):
        return self.examples.resident()

    def take(self, resident, index):
        # By arithmetic, as the index may be one that a compiled step is traced with.
        return {**self.examples.take(resident, index), "label": index * 0 + self.label}

    def subset(self, split: str, rows: np.ndarray) -> "Relabelled":
        return dataclasses.replace(self, examples=self.examples.subset(split, rows))


@dataclasses.dataclass(frozen=True)
class LazyExamples:
    """Examples that are read when they are asked for.

    Attributes:
      split: name of the split.
      rows: numbers of this split's examples within the source.
      shape: of one example's x.
      read: numbers [n] -> x [n, *shape] uint8, label [n] int32, and what else there is.
      names: of each example of the source, where they have names: files come and go.
    """

    split: str
    rows: np.ndarray
    shape: tuple[int, ...]
    read: Callable[[np.ndarray], Stored]
    names: tuple[str, ...] = ()

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


def changed(examples: ArrayExamples | LazyExamples, change: Callable[[Stored], Stored]) -> Examples:
    """A split of which each example is what `change` makes of it, read when the other one is.

    Args:
      examples: the other one.
      change: stored arrays [n, ...] of n examples -> those in their place.
    """
    if isinstance(examples, LazyExamples):
        return dataclasses.replace(examples, read=lambda rows: change(examples.read(rows)))
    return ArrayExamples(examples.split, change(examples.arrays))


@dataclasses.dataclass(frozen=True)
class WindowExamples:
    """Windows of one long sequence, a text or a sound, which is held once whatever their number.

    Attributes:
      split: name of the split.
      sequence: [N, ...], tokens or samples of sound.
      start: where each window begins, int32 [n].
      length: T, of a window; x is [T, ...].
      arrays: what else a window has, as its label: [n, ...] each. With `length`, how many elements
        of it there are, x is 0 behind them.
      spans: where each piece of the sequence begins and ends, [P, 2].
    """

    split: str
    sequence: np.ndarray
    start: np.ndarray
    length: int
    arrays: Stored = dataclasses.field(default_factory=dict)
    spans: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @classmethod
    def of_pieces(
        cls,
        split: str,
        pieces: Sequence[np.ndarray],
        length: int,
        stride: int,
        *,
        unscored: int = 0,
        once: bool = False,
        labels: np.ndarray | None = None,
    ) -> "WindowExamples":
        """Windows of pieces, each within one: x, length and scored_from.

        Args:
          split: name of the split.
          pieces: [N_i, ...] each, of at least one element.
          length: T, of a window; a shorter piece is a window that is not full.
          stride: elements from one window of a piece to the next.
          unscored: first elements of a piece that are no part of a figure.
          once: whether every other element is scored in one window and in one alone, for which
            `scored_from` has where that begins; else windows are whole, for training.
          labels: one of each piece.
        """
        sizes = np.array([len(piece) for piece in pieces])
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        start, count, scored, owner = [], [], [], []
        for number, (size, offset) in enumerate(zip(sizes, offsets, strict=True)):
            last = max(size - length, 0)
            own = np.arange(0, last + 1, stride)
            if once and own[-1] < last:
                own = np.append(own, own[-1] + stride)  # of what is left at the end
            seen = np.concatenate([[unscored], np.minimum(own[:-1] + length, size)])
            start.append(offset + own)
            count.append(np.minimum(length, size - own))
            scored.append(seen - own if once else np.zeros_like(own))
            owner.append(np.full(len(own), number))
        filled = np.concatenate(
            [*pieces, np.zeros((length, *pieces[0].shape[1:]), pieces[0].dtype)]
        )
        arrays = {"length": count, "scored_from": scored}
        arrays = {name: np.concatenate(each).astype(np.int32) for name, each in arrays.items()}
        if labels is not None:
            arrays["label"] = np.asarray(labels, np.int32)[np.concatenate(owner)]
        spans = np.stack([offsets, offsets + sizes], 1)
        return cls(split, filled, np.concatenate(start).astype(np.int32), length, arrays, spans)

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
        arrays = {name: resident[name][index] for name in self.arrays}
        x = resident["sequence"][place]
        if "length" in arrays:
            there = np.arange(self.length) < arrays["length"][:, None]
            x = x * there.reshape(*there.shape, *[1] * (x.ndim - 2)).astype(x.dtype)
        return {"x": x, **arrays}

    def subset(self, split: str, rows: np.ndarray) -> "WindowExamples":
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return dataclasses.replace(self, split=split, start=self.start[rows], arrays=arrays)


def fingerprint(splits: Mapping[str, Examples]) -> str:
    """Tells sets of examples apart, by all that is in memory, or by the names of files."""
    crc = 0
    for split, examples in sorted(splits.items()):
        names = getattr(examples, "names", None)
        arrays = examples.resident() if names is None else {}
        for row in getattr(examples, "rows", ()) if names else ():
            crc = zlib.crc32(f"{split}/{names[row]}".encode(), crc)
        for key, array in sorted(arrays.items()):
            crc = zlib.crc32(f"{split}/{key} {array.dtype}{array.shape}".encode(), crc)
            crc = zlib.crc32(np.ascontiguousarray(array), crc)
    return f"{crc:08x}"


def carve(examples: Examples, name: str, count: int, seed: int) -> tuple[Examples, Examples]:
    """Takes `count` examples, chosen by a seed, out of a split -> (the rest, the new split).

    Of examples with names it takes about a tenth, whatever `count` is, by a hash of each name: so
    each stays on its side when others come and go.

    Raises:
      UserError: if nothing would be left on one side.
    """
    names = getattr(examples, "names", ())
    if names and len(examples) > 1:
        place = np.array([hashed_place(names[row], seed) for row in examples.rows])
        chosen = place < HASHED_SHARE
        if chosen.all() or not chosen.any():
            chosen = place == place.min()
        return _divide(examples, name, chosen)
    if not 0 < count < len(examples):
        raise UserError(
            f"{name} cannot take {count} of {len(examples)} examples; "
            f"choose --config.data.num_validation from 1 to {len(examples) - 1}"
        )
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(examples))
    return _divide(examples, name, np.isin(np.arange(len(examples)), order[:count]))


def _divide(examples: Examples, name: str, chosen: np.ndarray) -> tuple[Examples, Examples]:
    rest, taken = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    return examples.subset(examples.split, rest), examples.subset(name, taken)


def hashed_place(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on a name and a seed alone."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, salt=str(seed).encode()[:16])
    return int.from_bytes(digest.digest(), "big") / 2**64


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
      medium: of sequences, see `DataSpec`.
      rate: likewise.
      fingerprint: of data that have no place of their own, so that a run is not resumed on others.
      files: what the data are read from, where files may come and go: names and sizes.
    """

    splits: dict[str, Examples]
    shape: tuple[int, ...]
    levels: int = 0
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    given: Mapping[str, DataSpec] = dataclasses.field(default_factory=dict)
    medium: str = ""
    rate: float = 0.0
    fingerprint: str = ""
    files: tuple[str, ...] = ()


# Reads a dataset by its name and the `data` section of a config, for readers of one upon another.
Read = Callable[[str, ConfigDict], Source]
