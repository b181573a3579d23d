"""Stacked MNIST: three digits as the channels of one image, so 1,000 modes that can be counted.

Metz et al. 2017 (arXiv 1611.02163) made it, and VEEGAN (Srivastava et al. 2017, arXiv
1705.07761) counts its modes. The training set is a fixed list of triples, as
in GDPP (Elfeki et al. 2019, arXiv 1812.00068), so that every model sees the same images.
"""

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import LazyExamples, Source, Stored, all_rows
from gen_jax.data.readers import tfds

# Triples come of seeds that no config changes.
_SEEDS = {"train": 1000, "test": 1001}


def read(config: ConfigDict, num_train: int = 50_000, num_test: int = 10_000) -> Source:
    """Fixed triples of MNIST digits, x [28, 28, 3]; digits a, b, c have the label 100a + 10b + c.

    The three are drawn with replacement and independently of each other, those of the test
    split from MNIST's test digits. So the modes are about as frequent as the products of the
    digits' frequencies.

    Args:
      config: the `data` section; MNIST is looked for where `data.name=mnist` would find it.
      num_train: triples in the training split, before validation is carved.
      num_test: triples in the test split.
    """
    digits = tfds.read("mnist", config)
    splits = {}
    for split, count in (("train", num_train), ("test", num_test)):
        rows = all_rows(digits.splits[split])
        generator = np.random.Generator(np.random.Philox(key=_SEEDS[split]))
        triples = generator.integers(0, len(rows["x"]), (count, 3))
        shape = (*digits.shape[:2], 3)
        read = _reader(rows["x"], rows["label"], triples)
        splits[split] = LazyExamples(split, np.arange(count), shape, read)
    return Source(splits, shape, digits.levels, tuple(f"{mode:03}" for mode in range(1000)))


def _reader(pictures: np.ndarray, label: np.ndarray, triples: np.ndarray):
    """Stacks when asked: digits and triples take a third of the memory of what they make."""

    def read(rows: np.ndarray) -> Stored:
        chosen = triples[rows]
        x = np.empty((len(rows), *pictures.shape[1:3], 3), pictures.dtype)
        for channel in range(3):
            x[..., channel] = pictures[chosen[:, channel], ..., 0]
        return {"x": x, "label": np.int32(label[chosen] @ np.array([100, 10, 1]))}

    return read
