"""A folder of images: `folder:/path`, with class subfolders or without."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import LazyExamples, Source, Stored
from gen_jax.data.readers import images
from gen_jax.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SPLITS = ("train", "validation", "test")


def read(path: str, config: ConfigDict) -> Source:
    """Images below a folder, decoded when they are asked for.

    With `train` in it (and `test`, `validation`) these are its splits; else a tenth is the test
    set. Subfolders are classes, in the order of their names; no subfolders, no labels.

    Raises:
      UserError: if there are no images, or they differ in size and no size is configured.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"no folder {root}; give --config.data.name=folder:/path/to/images")
    tops = {s: root / s for s in SPLITS} if (root / "train").is_dir() else {"train": root}
    files = {split: _files(top) for split, top in tops.items() if top.is_dir()}
    files = {split: found for split, found in files.items() if found}
    if "train" not in files:
        raise UserError(f"no images in {tops['train']}; it takes {', '.join(SUFFIXES)}")
    first = files["train"][0]
    shape = images.decode(first, str(first), config).shape
    classes = sorted({f.parent.name for f in files["train"] if f.parent != tops["train"]})
    splits = {
        split: LazyExamples(
            split, np.arange(len(found)), shape, _reader(found, classes, shape, config)
        )
        for split, found in files.items()
    }
    return Source(splits, shape, 256, tuple(classes))


def _files(top: Path) -> list[Path]:
    found = [*top.glob("*"), *top.glob("*/*")]
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.is_file())


def _reader(
    files: list[Path], classes: list[str], shape: tuple[int, ...], config: ConfigDict
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
        for file in chosen:
            if classes and file.parent.name not in number:
                raise UserError(
                    f"{file} is in none of the classes of train ({', '.join(classes)}); move it, "
                    "or make one for it in train"
                )
        label = [number.get(file.parent.name, 0) for file in chosen]
        x = np.stack([one(file) for file in chosen])
        return {"x": x, "label": np.asarray(label, np.int32)}

    return read
