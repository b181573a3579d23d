"""A folder of images: `folder:/path`, with class subfolders or without."""

import collections
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import LazyExamples, Source, Stored
from gen_jax.data.readers import images
from gen_jax.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# What a folder of a split may be called, in small letters or capitals.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}


def read(path: str, config: ConfigDict) -> Source:
    """Images below a folder, decoded when they are asked for.

    With `train` in it (and `test`, `validation`) these are its splits; else a tenth is the test
    set. Subfolders are classes, in the order of their names, numbers by their value; all pictures
    below one are of it. No subfolders, no labels. Hidden files and folders are passed over. What
    was read, and what was not, is printed.

    Raises:
      UserError: if there are no images, or they differ in size and no size is configured.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"no folder {root}; give --config.data.name=folder:/path/to/images")
    tops, skipped = _split_folders(root), collections.Counter()
    found = {split: _files(top, skipped) for split, top in tops.items()}
    found = {split: files for split, files in found.items() if files}
    if "train" not in found:
        raise UserError(f"no images in {tops['train']}; it takes {', '.join(SUFFIXES)}")
    classes = sorted({c for _, c in found["train"] if c}, key=_natural)
    if classes:
        found = {split: _of_classes(files, skipped) for split, files in found.items()}
    _check_classes(found, classes)
    _report(root, found, classes, skipped)
    first = found["train"][0][0]
    shape = images.decode(first, str(first), config).shape
    splits = {
        split: LazyExamples(
            split,
            np.arange(len(files)),
            shape,
            _reader(files, classes, shape, config),
            tuple(file.relative_to(root).as_posix() for file, _ in files),
        )
        for split, files in found.items()
    }
    return Source(splits, shape, 256, tuple(classes), files=_list(root, found))


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; the root is that of train where there is no folder of it."""
    below = {p.name.lower(): p for p in root.iterdir() if p.is_dir() and not _is_hidden(p.name)}
    tops = {}
    for split, names in SPLITS.items():
        several = [below[name] for name in names if name in below]
        if len(several) > 1:
            listed = " and ".join(p.name for p in several)
            raise UserError(f"{root} has {listed}, both of the split {split}; leave one of them")
        if several:
            tops[split] = several[0]
    if "train" in tops:
        return tops
    if tops and len(tops) == len(below):
        listed = " and ".join(p.name for p in tops.values())
        raise UserError(f"{root} has {listed} and no folder train; add it, or name the classes")
    return {"train": root}


def _is_hidden(name: str) -> bool:
    """Of the system or of an editor: `.ipynb_checkpoints`, `._x.png`, `__MACOSX`."""
    return name.startswith((".", "__"))


def _files(top: Path, skipped: collections.Counter) -> list[tuple[Path, str]]:
    """Images below a folder at any depth, each with the first folder on the way to it, or ""."""
    found = []
    for folder, folders, names in os.walk(top):
        skipped["hidden"] += sum(map(_is_hidden, (*folders, *names)))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in names:
            file = Path(folder, name)
            if _is_hidden(name):
                continue
            if file.suffix.lower() not in SUFFIXES or not file.is_file():
                skipped["no image by their names"] += 1
                continue
            way = file.relative_to(top).parts[:-1]
            found.append((file, way[0] if way else ""))
    return sorted(found)


def _of_classes(
    files: list[tuple[Path, str]], skipped: collections.Counter
) -> list[tuple[Path, str]]:
    """Those that lie in a class folder."""
    kept = [(file, name) for file, name in files if name]
    skipped["beside the folders of the classes"] += len(files) - len(kept)
    return kept


def _check_classes(found: dict[str, list[tuple[Path, str]]], classes: list[str]) -> None:
    for files in found.values():
        for file, name in files:
            if classes and name not in classes:
                raise UserError(
                    f"{file} is in none of the classes of train ({', '.join(classes)}); move it, "
                    "or make one for it in train"
                )


def _report(
    root: Path,
    found: dict[str, list[tuple[Path, str]]],
    classes: list[str],
    skipped: collections.Counter,
) -> None:
    """Says what was read."""
    sizes = ", ".join(f"{len(files):,} in {split}" for split, files in found.items())
    many = len(classes) > 12
    listed = ", ".join([*classes[:12], *(["..."] if many else [])])
    what = f"{len(classes):,} classes ({listed})" if classes else "no classes"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items() if count)
    carved = [split for split in ("test", "validation") if split not in found]
    shares = f"; of train a tenth each becomes {' and '.join(carved)}" if carved else ""
    skips = f"; skipped: {reasons}" if reasons else ""
    images.say_once(f"{root}: {sizes}, {what}{shares}{skips}")


def _natural(name: str) -> list[tuple[int, int | str]]:
    """For an order in which 10 comes after 9."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def _list(root: Path, found: dict[str, list[tuple[Path, str]]]) -> tuple[str, ...]:
    """Each file with its size, so that others under its name are noticed."""
    every = sorted(file for files in found.values() for file, _ in files)
    return tuple(f"{file.relative_to(root).as_posix()} {file.stat().st_size}" for file in every)


def _reader(
    files: list[tuple[Path, str]], classes: list[str], shape: tuple[int, ...], config: ConfigDict
) -> Callable:
    number = {name: label for label, name in enumerate(classes)}

    def one(file: Path) -> np.ndarray:
        x = images.decode(file, str(file), config)
        if x.shape != shape:
            raise UserError(
                f"{file} is {x.shape[0]}x{x.shape[1]}, not {shape[0]}x{shape[1]} as the first "
                "image; set one size for all: --config.data.image_size=64"
            )
        return x

    def read(rows: np.ndarray) -> Stored:
        chosen = [files[row] for row in rows]
        label = [number.get(name, 0) for _, name in chosen]
        x = np.stack([one(file) for file, _ in chosen])
        return {"x": x, "label": np.asarray(label, np.int32)}

    return read
