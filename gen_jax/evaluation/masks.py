"""Which pixels of a picture are known, by name: for completion, and damage that hides some."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from gen_jax.data.readers.pairs import scratches
from gen_jax.errors import UserError

Mask = np.ndarray

_SEED = 0  # of masks that are drawn, which are the same for all pictures


def _half(axis: int, first: bool) -> Callable[[tuple[int, int]], Mask]:
    def known(shape):
        before = np.indices(shape)[axis] < shape[axis] / 2
        return before if first else ~before

    return known


def _quadrants(number: int) -> Callable[[tuple[int, int]], Mask]:
    """Of Sohn et al. 2015 (CVAE), section 5.2: the lower left, the left half, and all but the upper
    right."""

    def known(shape):
        row, column = np.indices(shape)
        low, left = row >= shape[0] / 2, column < shape[1] / 2
        return {1: low & left, 2: left, 3: low | left}[number]

    return known


def hole(shape: tuple[int, int]) -> Mask:
    """All but a rectangle in the middle, half as long as the sides."""
    known = np.ones(shape, bool)
    rows, columns = (slice(side // 4, side // 4 + side // 2) for side in shape)
    known[rows, columns] = False
    return known


def unscratched(shape: tuple[int, int]) -> Mask:
    """All but some straight scratches."""
    draw = np.random.default_rng(_SEED)
    return ~np.any(list(scratches(shape, draw)), 0)


# What is known of a picture [H, W], by name.
KNOWN: dict[str, Callable[[tuple[int, int]], Mask]] = {
    "top": _half(0, True),
    "bottom": _half(0, False),
    "left": _half(1, True),
    "right": _half(1, False),
    "one_quadrant": _quadrants(1),
    "two_quadrants": _quadrants(2),
    "three_quadrants": _quadrants(3),
    "frame": hole,
    "unscratched": unscratched,
    "quarter_of_pixels": lambda shape: np.random.default_rng(_SEED).random(shape) < 0.25,
}


def known_part(name: str, shape: tuple[int, int]) -> Mask:
    """Which pixels [H, W] are known, by a key of `KNOWN` or the file of a picture: its white ones.

    Raises:
      UserError: for another name, or a picture of another size or with nothing known or unknown.
    """
    if name in KNOWN:
        return KNOWN[name](shape)
    if not Path(name).is_file():
        raise UserError(
            f"unknown mask {name!r}; give a picture whose white pixels are known, or one of: "
            f"{', '.join(KNOWN)}"
        )
    try:
        with Image.open(name, "r", ("PNG", "BMP", "GIF")) as image:
            known = np.asarray(image.convert("L")) > 127
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} is no picture of a mask: {error}") from None
    if known.shape != tuple(shape):
        raise UserError(f"{name} has {list(known.shape)} pixels; it needs {list(shape)}")
    if known.all() or not known.any():
        raise UserError(
            f"{name} leaves nothing to complete, or nothing to go by; draw black and white"
        )
    return known
