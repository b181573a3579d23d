"""Mixtures of Gaussians in the plane: the ring and the grid of the mode-collapse literature."""

import numpy as np

from gen_jax.data.examples import ArrayExamples, Source

NUM_TRAIN, NUM_TEST = 100_000, 10_000


def _ring() -> tuple[np.ndarray, float]:
    angle = 2 * np.pi * np.arange(8) / 8
    return np.stack([np.cos(angle), np.sin(angle)], 1), 0.01


def _grid() -> tuple[np.ndarray, float]:
    side = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(side, side), -1).reshape(-1, 2), 0.05


# (centers [K, 2], standard deviation), as in PacGAN (Lin et al. 2018, arXiv 1712.04086, 4.1).
MODES = {"ring": _ring(), "grid": _grid()}


def read(name: str) -> Source:
    """Fixed sets of points drawn with a fixed seed; the label is the mode."""
    centers, sd = MODES[name]
    splits = {}
    for seed, (split, count) in enumerate((("train", NUM_TRAIN), ("test", NUM_TEST))):
        generator = np.random.Generator(np.random.Philox(key=seed))
        label = generator.integers(0, len(centers), count)
        x = centers[label] + sd * generator.normal(size=(count, 2))
        arrays = {"x": x.astype(np.float32), "label": label.astype(np.int32)}
        splits[split] = ArrayExamples(split, arrays)
    names = tuple(f"({a:.2g}, {b:.2g})" for a, b in centers)
    return Source(splits, (2,), 0, names)
