"""idx files, the format of MNIST and its kin, read with every size checked."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from gen_jax.errors import UserError

_UINT8 = 0x08
# Larger than any set of this kind, so that a wrong header or a bomb is not unpacked.
_MAX_BYTES = 2**31


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
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UserError(f"{path} is truncated or damaged; fetch it again") from None
    if len(data) > _MAX_BYTES:
        raise UserError(f"{path} unpacks to more than {_MAX_BYTES} bytes; it is not such a file")
    start = 4 + 4 * ndim
    if len(data) < start or data[:4] != bytes((0, 0, _UINT8, ndim)):
        raise UserError(f"{path} is not an idx file of {ndim}-dimensional bytes; fetch it again")
    shape = [int(n) for n in np.frombuffer(data[4:start], ">u4")]
    expected = int(np.prod(shape, dtype=object))
    if 0 in shape or len(data) - start != expected:
        state = "truncated" if len(data) - start < expected else "damaged"
        raise UserError(
            f"{path} is {state}: its header says {'x'.join(map(str, shape))} bytes and "
            f"{len(data) - start} follow; fetch it again"
        )
    return path, np.frombuffer(data, np.uint8, offset=start).reshape(shape)
