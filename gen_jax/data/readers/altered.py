"""The pictures of another dataset, each altered alike: `mirrored:NAME` and the others of `CHANGES`.

Pictures upside down have the statistics of the data in all but their order, which makes them hard
anomalies. Inverted, drawings in black on white become those in white on black that MNIST has.
"""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import Read, Source, Stored, changed
from gen_jax.data.readers.images import check_pictures


def mirrored(x: np.ndarray, levels: int) -> np.ndarray:
    """Pictures [N, H, W, C] with left and right exchanged."""
    return x[:, :, ::-1]


def upside_down(x: np.ndarray, levels: int) -> np.ndarray:
    """Pictures [N, H, W, C] with top and bottom exchanged."""
    return x[:, ::-1]


def inverted(x: np.ndarray, levels: int) -> np.ndarray:
    """Pictures [N, H, W, C] with black and white exchanged."""
    return levels - 1 - x


CHANGES = {"mirrored": mirrored, "upside_down": upside_down, "inverted": inverted}


def read(change: str, name: str, config: ConfigDict, read_source: Read) -> Source:
    """A dataset whose pictures are altered, and all else as it was.

    Args:
      change: one of `CHANGES`.
      name: of the dataset.
      config: the `data` section.
      read_source: of a dataset.

    Raises:
      UserError: for data that are no pictures.
    """
    found = check_pictures(name, read_source(name, config))

    def alter(rows: Stored) -> Stored:
        return {**rows, "x": CHANGES[change](rows["x"], found.levels)}

    splits = {split: changed(examples, alter) for split, examples in found.splits.items()}
    return dataclasses.replace(found, splits=splits)
