"""Nearest neighbours and distances of all pairs, a block at a time: memory stays bounded.

scikit-learn's, made exact where it matters: its distances of many dimensions come from products
of matrices, so those that are equal, or zero, differ by rounding.
"""

from collections.abc import Iterator

import numpy as np

# Of a squared distance, as a part of the squared norms: some 2,048 units of 2^-53.
ROUNDING = 1e-12
_BLOCK_MB = 64
_ROWS = 1_000  # whose exact distances are computed at once


def nearest(x: np.ndarray, reference: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of reference [M, D] for each row of x [N, D].

    Returns:
      distances [N, k], ascending and exactly 0 between equal rows; and which rows, int [N, k].
    """
    reference = np.asarray(reference, np.float64)
    fitted = _fit(reference, min(k, len(reference)))
    distances, rows = [], []
    for start in range(0, len(x), _ROWS):
        part = np.asarray(x[start : start + _ROWS], np.float64)
        found = fitted.kneighbors(part, return_distance=False)
        exact = np.stack([np.linalg.norm(part - reference[row], axis=1) for row in found.T], 1)
        order = np.argsort(exact, 1)
        distances.append(np.take_along_axis(exact, order, 1))
        rows.append(np.take_along_axis(found, order, 1))
    return np.concatenate(distances), np.concatenate(rows)


def radii(x: np.ndarray, k: int) -> np.ndarray:
    """The distance from each row of x [N, D] to its k-th nearest other row -> [N]."""
    return _fit(np.asarray(x, np.float64), k).kneighbors()[0][:, -1]


def squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """|x - y|^2 of all pairs of rows [N, D] and [M, D], less what rounding may have added.

    Yields:
      some rows of x, and their distances [n, M]. What is at a given distance is never beyond it.
    """
    from sklearn.metrics import pairwise_distances_chunked  # half a second that most runs save

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    norms = [ROUNDING * np.square(rows).sum(1) for rows in (x, y)]
    start = 0
    blocks = pairwise_distances_chunked(
        x, y, metric="euclidean", squared=True, working_memory=_BLOCK_MB
    )
    for block in blocks:
        rows = slice(start, start + len(block))
        block -= norms[0][rows, None]
        block -= norms[1]
        yield rows, block
        start = rows.stop


def pairs_within(x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Pairs i < j of rows of x [N, D] no further apart than min(radius_i, radius_j) -> [2, E]."""
    found = []
    for rows, squared in squared_distances(x, x):
        limit = np.square(np.minimum.outer(radius[rows], radius))
        first, second = np.nonzero(squared <= limit)
        first += rows.start
        found.append(np.stack([first, second])[:, first < second])
    return np.concatenate(found, 1)


def _fit(x: np.ndarray, k: int):
    from sklearn.neighbors import NearestNeighbors

    # A tree is faster in few dimensions, and no faster than all pairs in many.
    return NearestNeighbors(n_neighbors=k, algorithm="kd_tree" if x.shape[1] < 8 else "brute").fit(
        x
    )
