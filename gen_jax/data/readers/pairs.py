"""Pictures with another picture each, from which they are to be made.

`pairs:FILTER/NAME` has the pictures of a dataset as x, and as `source` what a filter makes of each.
`unpaired:A,B` has the pictures of B as x and some of A as `source`, whose labels are
`source_label`: which goes with which says nothing.
"""

import dataclasses
import zlib
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict
from scipy import ndimage

from gen_jax.data.examples import ArrayExamples, Read, Source, Stored, all_rows, changed
from gen_jax.data.readers.images import check_pictures
from gen_jax.data.spec import SOURCE, DataSpec
from gen_jax.errors import UserError

_PAIRING = 0  # the seed of which picture of A goes with which of B


def edges(x: np.ndarray, levels: int) -> np.ndarray:
    """White lines on black where a picture [H, W, C] changes most, in each channel alike.

    By Sobel's operator, where its magnitude is over a quarter of the largest.
    """
    grey = x.mean(-1)
    size = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    lines = size > max(size.max() / 4, 1e-6)
    return np.repeat(lines[..., None] * (levels - 1), x.shape[-1], -1).astype(x.dtype)


def scratched(x: np.ndarray, levels: int) -> np.ndarray:
    """A picture [H, W, C] with two to four straight scratches, white or black.

    Where they are depends on the picture alone.
    """
    draw = np.random.Generator(np.random.Philox(key=zlib.crc32(np.ascontiguousarray(x))))
    found = x.copy()
    for near in scratches(x.shape[:2], draw):
        found[near] = draw.integers(0, 2) * (levels - 1)
    return found


def scratches(shape: tuple[int, int], draw: np.random.Generator) -> Iterator[np.ndarray]:
    """Two to four straight lines over a picture of a shape: which pixels are on each, bool."""
    places, size = np.stack(np.indices(shape), -1).astype(np.float64), np.array(shape)
    for _ in range(draw.integers(2, 5)):
        begin, angle = draw.uniform(0, size), draw.uniform(0, np.pi)
        across = np.array([-np.sin(angle), np.cos(angle)])
        yield np.abs((places - begin) @ across) < size.min() / 40


def blurred(x: np.ndarray, levels: int) -> np.ndarray:
    """A picture [H, W, C] under a Gaussian as wide as a 14th of its shorter side."""
    width = min(x.shape[:2]) / 14
    soft = ndimage.gaussian_filter(x.astype(np.float64), (width, width, 0))
    return np.clip(np.round(soft), 0, levels - 1).astype(x.dtype)


FILTERS = {"edges": edges, "scratched": scratched, "blurred": blurred}


def read_filtered(name: str, config: ConfigDict, read: Read) -> Source:
    """`FILTER/NAME`: a dataset whose examples have what a filter makes of them as `source`.

    Args:
      name: of the filter and the dataset.
      config: the `data` section.
      read: of the dataset.

    Raises:
      UserError: for an unknown filter, or data that are no pictures.
    """
    kind, _, dataset = name.partition("/")
    if kind not in FILTERS or not dataset:
        names = ", ".join(FILTERS)
        raise UserError(
            f"pairs:{name} names no filter and dataset; give --config.data.name=pairs:edges/mnist, "
            f"with one of: {names}"
        )
    found = check_pictures(dataset, read(dataset, config))

    def with_source(rows: Stored) -> Stored:
        made = [FILTERS[kind](picture, found.levels) for picture in rows["x"]]
        return {**rows, SOURCE: np.stack(made)}

    splits = {split: changed(examples, with_source) for split, examples in found.splits.items()}
    given = {SOURCE: DataSpec("bytes", found.shape, found.levels)}
    return dataclasses.replace(found, splits=splits, given=given)


def read_unpaired(name: str, config: ConfigDict, read: Read) -> Source:
    """`A,B`: the pictures of B, each with some picture of A as `source`.

    There are as many examples as the larger of the two has, and the smaller goes round.

    Raises:
      UserError: for another number of datasets, or those whose pictures are not alike in shape.
    """
    names = name.split(",")
    if len(names) != 2 or not all(names):
        raise UserError(
            f"unpaired:{name} names {len(names)} datasets; give two, as "
            "--config.data.name=unpaired:mnist,usps"
        )
    first, second = (check_pictures(each, read(each, config)) for each in names)
    forms = [f"{source.shape} with {source.levels} levels" for source in (first, second)]
    if forms[0] != forms[1]:
        raise UserError(
            f"{names[0]} has pictures of shape {forms[0]}, and {names[1]} of {forms[1]}; bring "
            "both to one size: --config.data.image_size=28"
        )
    splits = {}
    for split in (name for name in first.splits if name in second.splits):
        one, two = (all_rows(source.splits[split]) for source in (first, second))
        count = max(len(one["x"]), len(two["x"]))
        draw = np.random.Generator(np.random.Philox(key=_PAIRING))
        rows = np.arange(count)
        partner = draw.permutation(count) % len(one["x"])
        arrays = {key: array[rows % len(two["x"])] for key, array in two.items()}
        arrays[SOURCE] = one["x"][partner]
        if "label" in one:
            arrays["source_label"] = np.int32(one["label"][partner])
        splits[split] = ArrayExamples(split, arrays)
    given = {SOURCE: DataSpec("bytes", first.shape, first.levels)}
    return dataclasses.replace(second, splits=splits, given=given)
