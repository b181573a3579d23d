"""Grids of images: arrays of uint8 in, pictures uint8 [H, W, 3] out."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gen_jax import files

_MIN_CELL = 56  # pixels, so that an 8x8 digit can be seen
_BACKGROUND = 255


def tile(images: np.ndarray, columns: int | None = None, gap: int | None = None) -> np.ndarray:
    """Images uint8 [N, H, W, C] -> one picture, row by row.

    One channel is grey, two become red and green, of more than three the first three are shown.
    Small images are enlarged by a whole factor. Without `columns` the picture is about square.
    """
    num, height, width, channels = images.shape
    if channels == 1:
        images = images.repeat(3, -1)
    elif channels == 2:
        images = np.concatenate([images, np.zeros_like(images[..., :1])], -1)
    images = images[..., :3]
    scale = max(1, -(-_MIN_CELL // max(height, width)))
    images = images.repeat(scale, 1).repeat(scale, 2)
    gap = 2 if gap is None else gap
    columns = columns or int(np.ceil(np.sqrt(num)))
    rows = -(-num // columns)
    cell = (images.shape[1] + gap, images.shape[2] + gap)
    picture = np.full((rows * cell[0] + gap, columns * cell[1] + gap, 3), _BACKGROUND, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * cell[0] + gap, (index % columns) * cell[1] + gap
        picture[top : top + image.shape[0], left : left + image.shape[1]] = image
    return picture


def heat(values: np.ndarray) -> np.ndarray:
    """Maps [N, H, W] of numbers from 0 to 1 -> uint8 [N, H, W, 3]: black, red, yellow, white."""
    colors = 3 * np.clip(values, 0, 1)[..., None] - np.arange(3)
    return np.round(255 * np.clip(colors, 0, 1)).astype(np.uint8)


def pairs(originals: np.ndarray, reconstructions: np.ndarray, columns: int) -> np.ndarray:
    """Rows of originals, each with its reconstructions in the row below."""
    rows = []
    for start in range(0, len(originals), columns):
        above, under = originals[start : start + columns], reconstructions[start : start + columns]
        rows.append(tile(np.concatenate([above, under]), len(above)))
    return below(rows)


def below(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [H, W, 3] one below the other, all from the left."""
    width = max(row.shape[1] for row in rows)
    fill = [((0, 4), (0, width - row.shape[1]), (0, 0)) for row in rows]
    padded = [np.pad(r, f, constant_values=_BACKGROUND) for r, f in zip(rows, fill, strict=True)]
    return np.concatenate(padded)[:-4]


def save_png(path: Path, picture: np.ndarray) -> Path:
    """Writes a picture, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return files.write_whole(path, buffer.getvalue())


def animated_png(frames: list[np.ndarray], milliseconds: int = 80, last: int = 2_000) -> bytes:
    """Pictures uint8 [H, W, 3] of one size, one after another and again, the last for longer."""
    images, buffer = [Image.fromarray(frame) for frame in frames], io.BytesIO()
    durations = [milliseconds] * (len(images) - 1) + [last]
    more = {"save_all": True, "append_images": images[1:], "duration": durations, "loop": 0}
    images[0].save(buffer, format="PNG", **more)
    return buffer.getvalue()
