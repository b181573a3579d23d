"""idx files, the format of MNIST and its kin, read with every size checked."""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gen_jax.errors import UserError

_UINT8 = 0x08
# Larger than any set of this kind, so that a wrong header or a bomb is not unpacked.
_MAX_BYTES = 2**30


def read_images(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, 1] and labels int32 [N] of "train" or "t10k".

    Raises:
      UserError: naming the file that is missing, damaged or does not fit the other.
    """
    images_path, images = _read(folder, f"{split}-images-idx3-ubyte", 3)
    labels_path, labels = _read(folder, f"{split}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise UserError(
            f"{images_path} has {len(images)} images and {labels_path} has {len(labels)} labels; "
            "fetch both again"
        )
    return images[..., None], labels.astype(np.int32)


def _read(folder: Path, name: str, ndim: int) -> tuple[Path, np.ndarray]:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise UserError(f"missing data file {folder / name} (or {name}.gz)")
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} is no file; fetch it again")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            header = file.read(4 + 4 * ndim)
            shape = _shape(header, ndim, path)
            size = math.prod(shape)
            # Not more than the header says and one byte, whatever a compressed file unpacks to.
            data = _take(file, size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UserError(f"{path} is truncated or damaged; fetch it again") from None
    if len(data) != size:
        state, follow = ("truncated", len(data)) if len(data) < size else ("damaged", "more")
        raise UserError(
            f"{path} is {state}: its header says {'x'.join(map(str, shape))} bytes and "
            f"{follow} follow; fetch it again"
        )
    return path, np.frombuffer(data, np.uint8).reshape(shape)


def _shape(header: bytes, ndim: int, path: Path) -> list[int]:
    if len(header) < 4 + 4 * ndim or header[:4] != bytes((0, 0, _UINT8, ndim)):
        raise UserError(f"{path} is not an idx file of {ndim}-dimensional bytes; fetch it again")
    shape = [int(n) for n in np.frombuffer(header[4:], ">u4")]
    if not 0 < math.prod(shape) <= _MAX_BYTES:
        raise UserError(
            f"{path} is damaged: its header says {'x'.join(map(str, shape))} bytes, which is not "
            f"between 1 and {_MAX_BYTES}; fetch it again"
        )
    return shape


def _take(file: BinaryIO, count: int) -> bytearray:
    """The next `count` bytes, or as many as there are. Memory grows with what is there."""
    data = bytearray()
    while len(data) < count and (piece := file.read(min(count - len(data), 2**20))):
        data += piece
    return data
