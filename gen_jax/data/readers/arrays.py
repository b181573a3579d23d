"""Arrays in memory (`gen_jax.fit(..., arrays={...})`) or in a file (`arrays:FILE`).

FILE.npz holds them by name; FILE.npy is x, and FILE.label.npy beside it the label, if it is there;
FILE.csv is a table of vectors with a line of names, whose column `label`, if it has one, is that.
"""

import csv
import dataclasses
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gen_jax.data.examples import ArrayExamples, Source, fingerprint
from gen_jax.errors import UserError

_UNSOUND = (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error)
LATENTS = "latents.npz"  # in a workdir: encodings of its data
_FORM = (
    "x [N, H, W] or [N, H, W, C] with integers from 0 to 255 for images, or [N, D] for vectors, "
    "and label [N] where there are labels; x_train and x_test, label_train and label_test where "
    "there are splits"
)


def read_file(path: str) -> Source:
    """The arrays of a file, as `read` knows them.

    Raises:
      UserError: if there is no such file, or it holds something else.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"no file {file}; give --config.data.name=arrays:/path/to.npz")
    if file.suffix == ".csv":
        return _read_csv(file)
    arrays = _load(file)
    beside = file.with_suffix(".label.npy")
    if file.suffix == ".npy" and beside.is_file():
        arrays["label"] = _load(beside)["x"]
    return read(arrays, str(file))


def read_latents(path: str) -> Source:
    """The encodings of a run, which `launch.py encode` writes into its workdir.

    Raises:
      UserError: if they are not there.
    """
    file = Path(path).expanduser() / LATENTS
    if not file.is_file():
        raise UserError(
            f"no encodings in {path}; write them: python launch.py encode --workdir={path}"
        )
    return read(_load(file), str(file))


def _load(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or the x of an .npy file."""
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"x": found}
        with found:
            return {name: found[name] for name in found.files}
    except _UNSOUND as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{file} is no sound file of numbers ({reason}); write it by numpy.savez or numpy.save"
        ) from None


def _read_csv(file: Path) -> Source:
    """A table of vectors.

    Raises:
      UserError: for a line that is not as long as the first, or what is no number.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            head, *lines = list(csv.reader(text))
    except (ValueError, csv.Error):
        raise UserError(
            f"{file} is no table: it needs a line of names and lines of numbers"
        ) from None
    head = [name.strip() for name in head]
    columns = [number for number, name in enumerate(head) if name != "label"]
    x = np.empty((len(lines), len(columns)), np.float32)
    for number, line in enumerate(lines):
        try:
            x[number] = [float(line[column]) for column in columns]
            if len(line) != len(head):
                raise ValueError
        except (ValueError, IndexError):
            raise UserError(
                f"{file}, line {number + 2}: it must have {len(head)} values, numbers but for label"
            ) from None
    if "label" not in head:
        return read({"x": x}, str(file))
    words = [line[head.index("label")].strip() for line in lines]
    whole = all(word.isdecimal() for word in words)
    names = sorted({*words}, key=int if whole else str)
    label = np.array([names.index(word) for word in words], np.int32)
    return dataclasses.replace(read({"x": x, "label": label}, str(file)), class_names=tuple(names))


def read(arrays: Mapping[str, np.ndarray] | None, name: str = "arrays") -> Source:
    """Named arrays: `x` and `label`, or of each split `x_train` and `label_train` and so on.

    `y` is another name for `label`. Whole numbers from 0 to 255 are grey levels of images, if x has
    three axes or four, or of vectors; True and False are two levels; other numbers are real.

    Args:
      arrays: by name.
      name: what to call them in an error.

    Raises:
      UserError: for what is missing, or does not fit together.
    """
    if arrays is None:
        raise UserError(
            "this run's data were arrays in memory, which are gone; give them again: "
            "gen_jax.fit(..., arrays=...)"
        )
    found = _by_split({key: np.asarray(array) for key, array in arrays.items()}, name)
    forms = {s: _form(parts["x"], f"{name}: {s}") for s, parts in found.items()}
    for split, (x, _) in forms.items():
        if x.shape[1:] != forms["train"][0].shape[1:]:
            raise UserError(
                f"{name}: x of {split} has examples of shape {list(x.shape[1:])}, and of train "
                f"{list(forms['train'][0].shape[1:])}"
            )
    labels = {s: _labels(parts, len(forms[s][0]), name) for s, parts in found.items()}
    present = [label for label in labels.values() if label is not None]
    if 0 < len(present) < len(labels):
        raise UserError(f"{name}: some splits have labels and some have none; give all or none")
    classes = max((int(label.max()) + 1 for label in present), default=0)
    splits = {}
    for split, (x, _) in forms.items():
        label = {} if labels[split] is None else {"label": labels[split]}
        splits[split] = ArrayExamples(split, {"x": x, **label})
    return Source(
        splits=splits,
        shape=forms["train"][0].shape[1:],
        levels=max(levels for _, levels in forms.values()),
        class_names=tuple(map(str, range(classes))),
        fingerprint=fingerprint(splits),
    )


def _by_split(arrays: dict[str, np.ndarray], name: str) -> dict[str, dict[str, np.ndarray]]:
    """{"train": {"x": ..., "label": ...}, ...}."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        match = re.fullmatch(r"(x|label|y)(?:_(train|validation|test))?", key)
        if match is None:
            raise UserError(f"{name} has an array {key!r}, which is not known; it takes {_FORM}")
        part, split = match[1].replace("y", "label"), match[2] or "train"
        if part in found.setdefault(split, {}):
            raise UserError(f"{name} has {part} of {split} twice; leave one of them out")
        found[split][part] = array
    for split in {**found, "train": None}:
        if "x" not in found.get(split, {}):
            raise UserError(f"{name} has no x of {split}; it takes {_FORM}")
    return found


def _form(x: np.ndarray, where: str) -> tuple[np.ndarray, int]:
    """x as it is stored, [N, H, W, C] for images, and its grey levels, 0 for real numbers."""
    if x.ndim not in (2, 3, 4) or not x.size:
        raise UserError(f"{where} has x of shape {list(x.shape)}; it takes {_FORM}")
    if x.ndim == 3:
        x = x[..., None]
    if x.dtype == bool:
        return x.astype(np.uint8), 2
    if np.issubdtype(x.dtype, np.integer):
        if x.min() < 0 or x.max() > 255:
            raise UserError(
                f"{where} has whole numbers from {x.min()} to {x.max()} as x, and grey levels are "
                "from 0 to 255; scale them, or give real numbers with "
                "--config.data.preprocess=none"
            )
        return x.astype(np.uint8), 256
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"{where} has x of type {x.dtype}; it takes {_FORM}")
    if not np.isfinite(x).all():
        raise UserError(f"{where} has values in x that are not finite; leave them out")
    return x.astype(np.float32), 0


def _labels(parts: dict[str, np.ndarray], count: int, name: str) -> np.ndarray | None:
    if "label" not in parts:
        return None
    label = parts["label"]
    if label.shape == (count, 1):
        label = label[:, 0]
    whole = np.issubdtype(label.dtype, np.integer) and label.size and label.min() >= 0
    if label.shape != (count,) or not whole:
        raise UserError(
            f"{name}: label has shape {list(label.shape)} and type {label.dtype}; give whole "
            f"numbers from 0 up, one for each x: [{count}]"
        )
    return label.astype(np.int32)
