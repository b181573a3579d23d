"""scikit-learn's digits, which come with it: no file, no network."""

import numpy as np

from gen_jax.data.examples import ArrayExamples, Source, carve


def read(seed: int) -> Source:
    """1,797 handwritten digits, 8x8 with 17 grey levels; the seed chooses 297 as the test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, label = digits.images.astype(np.uint8)[..., None], digits.target.astype(np.int32)
    train, test = carve(ArrayExamples("train", {"x": x, "label": label}), "test", 297, seed)
    names = tuple(map(str, range(10)))
    return Source({"train": train, "test": test}, (8, 8, 1), 17, names)
