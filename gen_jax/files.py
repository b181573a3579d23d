"""Files of a run: written whole or not at all, read with care, as they may be a stranger's."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np


def own_folder() -> Path:
    """Where experiments/ and results/ are: the package in a wheel, the repository otherwise."""
    package = Path(__file__).parent
    return package if (package / "experiments").is_dir() else package.parent


def write_whole(path: Path, data: bytes | str) -> Path:
    """Writes a file beside its place and moves it there: a kill leaves the old one or the new one.

    Raises:
      OSError: if there is no room; what was there stays.
    """
    # A name of its own, so that two commands on one workdir do not write into each other's, and
    # opened as a new file, so that a link under that name is not followed.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with open(part, "xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # it would take room that is missed already
        raise
    return path


def write_arrays(path: Path, **arrays: np.ndarray) -> Path:
    """Writes FILE.npz: see `write_whole`."""
    data = io.BytesIO()
    np.savez(data, **arrays)
    return write_whole(path, data.getvalue())


def read_json(path: Path, limit: int = 2**24) -> Any:
    """What a JSON file holds.

    Raises:
      ValueError: for a file that is none, is not JSON or has more than `limit` bytes.
    """
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("it is no file")
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return parse_json(data)


def parse_json(data: bytes | str) -> Any:
    """What JSON text says.

    Raises:
      ValueError: if it is not JSON.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
