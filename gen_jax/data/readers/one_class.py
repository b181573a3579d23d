"""One class of a dataset as normal, and all others as anomalies: `one_class:CLASS/NAME`.

Ruff et al. 2018 (Deep SVDD): a model is trained on the training examples of one class, and its
scores of the test examples of that class are compared with those of all other classes.
"""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import Examples, Read, Source
from gen_jax.errors import UserError

_AT_ONCE = 10_000  # examples whose labels are looked at


def read(name: str, config: ConfigDict, read_source: Read) -> Source:
    """`CLASS/NAME`: the splits of a dataset with one class alone, and a split "anomalies".

    That has the test examples of all other classes. What is no train or test split is left out.

    Args:
      name: a class by its number or its name, and a dataset.
      config: the `data` section.
      read_source: of a dataset.

    Raises:
      UserError: for a class that there is not, or a dataset without a test split or labels.
    """
    kind, _, dataset = name.partition("/")
    if not kind or not dataset:
        raise UserError(
            f"one_class:{name} names no class and dataset; give "
            "--config.data.name=one_class:3/mnist"
        )
    source = read_source(dataset, config)
    names = source.class_names
    if "test" not in source.splits or not names:
        raise UserError(f"one_class: {dataset} has no test split or no labels; choose another")
    if kind in names:
        number = names.index(kind)
    elif kind.isdecimal() and int(kind) < len(names):
        number = int(kind)
    else:
        raise UserError(f"one_class: {dataset} has no class {kind}; valid are: {', '.join(names)}")
    splits = {}
    for split in ("train", "test"):
        own = _labels(source.splits[split]) == number
        if not own.any():
            raise UserError(f"one_class: the {split} split of {dataset} has no example of {kind}")
        splits[split] = source.splits[split].subset(split, np.flatnonzero(own))
        if split == "test":
            others = np.flatnonzero(~own)
            splits["anomalies"] = source.splits[split].subset("anomalies", others)
    return dataclasses.replace(source, splits=splits)


def _labels(examples: Examples) -> np.ndarray:
    rows = np.arange(len(examples))
    parts = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
    return np.concatenate([np.asarray(examples.gather(part)["label"]) for part in parts])
