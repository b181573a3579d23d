"""Points in the plane: mixtures of Gaussians of the mode-collapse literature, and other shapes."""

from collections.abc import Callable

import numpy as np

from gen_jax.data.examples import ArrayExamples, Source

NUM_TRAIN, NUM_TEST = 100_000, 10_000


def _ring() -> tuple[np.ndarray, float]:
    angle = 2 * np.pi * np.arange(8) / 8
    return np.stack([np.cos(angle), np.sin(angle)], 1), 0.01


def _grid() -> tuple[np.ndarray, float]:
    side = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(side, side), -1).reshape(-1, 2), 0.05


def _gaussians() -> tuple[np.ndarray, float]:
    centers, _ = _ring()
    return 2 * np.sqrt(2) * centers, 0.35


# (centers [K, 2], standard deviation): the first two as in PacGAN (Lin et al. 2018, arXiv
# 1712.04086, 4.1), the third wide enough that its modes touch, for densities.
MODES = {"ring": _ring(), "grid": _grid(), "gaussians": _gaussians()}


def _moons(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    angle, label = generator.uniform(0, np.pi, count), generator.integers(0, 2, count)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    x = np.where(label[:, None] == 0, upper, lower) - np.array([0.5, 0.25])
    return 2 * (x + 0.1 * generator.normal(size=x.shape)), label


def _checkerboard(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of the squares of side 2 of [-4, 4]^2."""
    label = generator.integers(0, 8, count)
    row, column = label // 2, 2 * (label % 2)
    corner = np.stack([2 * (column + row % 2), 2 * row], 1) - 4
    return corner + generator.uniform(0, 2, (count, 2)), label


def _pinwheel(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    label = generator.integers(0, 5, count)
    radius = 1 + 0.3 * generator.normal(size=count)
    along = 0.1 * generator.normal(size=count)
    angle = 2 * np.pi * label / 5 + 0.25 * np.exp(radius)
    x = np.stack(
        [
            radius * np.cos(angle) - along * np.sin(angle),
            radius * np.sin(angle) + along * np.cos(angle),
        ],
        1,
    )
    return 2 * x, label


def _swiss_roll(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    turn = 1.5 * np.pi * (1 + 2 * generator.uniform(size=count))
    x = np.stack([turn * np.cos(turn), turn * np.sin(turn)], 1)
    return (x + generator.normal(size=x.shape)) / 5, np.zeros(count, int)


# Draws of x [N, 2] and of the part [N] that each is of; how many parts.
SHAPES: dict[str, tuple[Callable, int]] = {
    "moons": (_moons, 2),
    "checkerboard": (_checkerboard, 8),
    "pinwheel": (_pinwheel, 5),
    "swiss_roll": (_swiss_roll, 0),
}


def log_density(name: str, x: np.ndarray) -> np.ndarray | None:
    """The log of the exact density at x [N, 2], in nats; None where it is not known."""
    x = np.asarray(x, np.float64)
    if name == "checkerboard":
        cell = np.floor((x + 4) / 2)
        inside = (np.abs(x) < 4).all(1) & (cell.sum(1) % 2 == 0)
        return np.where(inside, -np.log(32), -np.inf)
    if name not in MODES:
        return None
    centers, sd = MODES[name]
    squares = np.square((x[:, None] - centers) / sd).sum(-1)
    terms = -squares / 2 - np.log(2 * np.pi * sd**2) - np.log(len(centers))
    return np.logaddexp.reduce(terms, 1)


def read(name: str) -> Source:
    """Fixed sets of points drawn with a fixed seed; the label is the mode or the part."""
    splits, names = {}, ()
    for seed, (split, count) in enumerate((("train", NUM_TRAIN), ("test", NUM_TEST))):
        generator = np.random.Generator(np.random.Philox(key=seed))
        if name in MODES:
            centers, sd = MODES[name]
            label = generator.integers(0, len(centers), count)
            x = centers[label] + sd * generator.normal(size=(count, 2))
            names = tuple(f"({a:.2g}, {b:.2g})" for a, b in centers)
        else:
            draw, parts = SHAPES[name]
            x, label = draw(generator, count)
            names = tuple(map(str, range(parts)))
        arrays = {"x": x.astype(np.float32)}
        if names:
            arrays["label"] = label.astype(np.int32)
        splits[split] = ArrayExamples(split, arrays)
    return Source(splits, (2,), 0, names)
