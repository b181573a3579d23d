"""Where examples come from: a name in the config -> train, validation and test splits."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Protocol

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError

# Splits of sets that come without them are carved by seeds that no config changes.
_TEST_SEED = 777
IMAGE_PREPROCESSING = {
    "dynamic_binarization": ("binary", True),
    "fixed_binarization": ("binary", False),
    "bytes": ("bytes", False),
    "uniform_dequantization": ("real", True),
}


class Examples(Protocol):
    """One split: random access to stored examples.

    Attributes:
      split: "train", "validation" or "test".
      nbytes: memory that all of x takes.
    """

    split: str
    nbytes: int

    def __len__(self) -> int: ...

    def gather(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Rows `index` [n] -> x [n, *shape] as stored, label [n] int32 (zeros without labels)."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All rows."""


@dataclasses.dataclass(frozen=True)
class ArrayExamples:
    """Examples in memory: x [N, *shape], label [N]."""

    split: str
    x: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @property
    def nbytes(self) -> int:
        return self.x.nbytes

    def gather(self, index: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": self.x[index], "label": self.label[index].astype(np.int32)}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"x": self.x, "label": self.label.astype(np.int32)}


@dataclasses.dataclass(frozen=True)
class LazyExamples:
    """Examples that are read when they are asked for.

    Attributes:
      split: name of the split.
      rows: numbers of this split's examples within the source.
      shape: of one example.
      read: numbers [n] -> (x [n, *shape] uint8, label [n]).
    """

    split: str
    rows: np.ndarray
    shape: tuple[int, ...]
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        return len(self.rows) * int(np.prod(self.shape))

    def gather(self, index: np.ndarray) -> dict[str, np.ndarray]:
        x, label = self.read(self.rows[index])
        return {"x": x, "label": np.asarray(label, np.int32)}

    def arrays(self) -> dict[str, np.ndarray]:
        return self.gather(np.arange(len(self)))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset: what an example is, and its splits train, validation and test.

    With `data.anomalies` there is a split "anomalies" too, with labels of its own.
    """

    name: str
    spec: DataSpec
    splits: dict[str, Examples]


@dataclasses.dataclass(frozen=True)
class Source:
    """What a reader finds, before validation is carved and x is given a meaning.

    Attributes:
      splits: {split: Examples}, at least "train".
      shape: of one example.
      levels: grey levels; 0 for real numbers.
      class_names: one for each label.
    """

    splits: dict[str, Examples]
    shape: tuple[int, ...]
    levels: int
    class_names: tuple[str, ...] = ()


def load(config: ConfigDict) -> Dataset:
    """The dataset that the `data` section of a config names.

    Raises:
      UserError: for an unknown name or preprocessing, and for files that are missing or damaged.
    """
    name = config.name
    source = _read(name, config)
    spec = _spec(name, config, source)
    splits = dict(source.splits)
    if "test" not in splits:
        splits["train"], splits["test"] = carve(
            splits["train"], "test", max(1, len(splits["train"]) // 10), _TEST_SEED
        )
    if "validation" not in splits:
        splits["train"], splits["validation"] = carve(
            splits["train"], "validation", config.num_validation, config.split_seed
        )
    if config.anomalies:
        splits["anomalies"] = _anomalies(spec, config)
    return Dataset(name, spec, splits)


def _read(name: str, config: ConfigDict) -> Source:
    # Imported here: each reader brings a library that only its datasets need.
    from gen_jax.data import catalogue, folder, stacked, synthetic

    if name == "digits":
        return _digits()
    if name in synthetic.MODES:
        return synthetic.read(name)
    if name == "stacked_mnist":
        return stacked.read(config)
    if name.startswith("folder:"):
        return folder.read(name.removeprefix("folder:"), config)
    if catalogue.may_have(name, config):
        return catalogue.read(name, config)
    known = ["digits", *synthetic.MODES, *catalogue.IDX, "stacked_mnist", "folder:/path"]
    close = difflib.get_close_matches(name, known, 1)
    raise UserError(
        f"unknown dataset {name!r}; "
        + (f"did you mean {close[0]}? " if close else "")
        + f"valid are: {', '.join(known)}, or any image dataset prepared by TFDS in data_dir"
    )


def _anomalies(spec: DataSpec, config: ConfigDict) -> Examples:
    """`data.anomalies`: its test split, or all of it where it is one set.

    Raises:
      UserError: if its examples are of another form.
    """
    name = config.anomalies
    source = _read(name, config)
    split = "test" if "test" in source.splits else "train"
    forms = [f"{s.shape} with {s.levels} levels" for s in (source, spec)]
    if forms[0] != forms[1]:
        raise UserError(
            f"data.anomalies={name} has examples of shape {forms[0]}, and {config.name} of "
            f"{forms[1]}; choose others, or train with --config.data.image_size and grayscale"
        )
    return dataclasses.replace(source.splits[split], split=f"{name}/{split}")


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
    if isinstance(examples, ArrayExamples):
        parts = [
            ArrayExamples(split, examples.x[rows], examples.label[rows])
            for split, rows in ((examples.split, rest), (name, taken))
        ]
    else:
        parts = [
            dataclasses.replace(examples, split=split, rows=examples.rows[rows])
            for split, rows in ((examples.split, rest), (name, taken))
        ]
    return parts[0], parts[1]


def _spec(name: str, config: ConfigDict, source: Source) -> DataSpec:
    valid = list(IMAGE_PREPROCESSING) if source.levels else ["none"]
    if config.preprocess not in valid:
        raise UserError(
            f"data.preprocess {config.preprocess!r} does not suit {name}; use "
            f"--config.data.preprocess={' or '.join(valid)}"
        )
    kind, dynamic = IMAGE_PREPROCESSING.get(config.preprocess, ("real", True))
    return DataSpec(
        kind=kind,
        shape=source.shape,
        levels=source.levels,
        num_classes=len(source.class_names),
        class_names=source.class_names,
        dynamic=dynamic,
    )


def _digits() -> Source:
    """scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels; 297 are the test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, label = digits.images.astype(np.uint8)[..., None], digits.target.astype(np.int32)
    train, test = carve(ArrayExamples("train", x, label), "test", 297, _TEST_SEED)
    names = tuple(map(str, range(10)))
    return Source({"train": train, "test": test}, (8, 8, 1), 17, names)
