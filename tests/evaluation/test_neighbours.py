"""Neighbours and distances in blocks against the whole table."""

import numpy as np
import pytest
from scipy.spatial import distance

from gen_jax.evaluation import neighbours


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_nearest_in_blocks_is_the_whole_table(monkeypatch, k, dtype):
    monkeypatch.setattr(neighbours, "_BLOCK_MB", 0.001)
    rng = np.random.default_rng(0)
    # Points of one mode are far closer to each other than to the origin.
    scale, shift = {np.uint8: (256, 0), np.float32: (1e-3, 50)}[dtype]
    x, reference = ((rng.random((n, 30)) * scale + shift).astype(dtype) for n in (20, 40))
    found, row = neighbours.nearest(x, reference, k)
    assert (neighbours.nearest(reference, reference)[0] == 0).all()
    table = distance.cdist(x, reference)
    np.testing.assert_array_equal(row, table.argsort(1)[:, :k])
    np.testing.assert_allclose(found, np.sort(table, 1)[:, :k])
    assert neighbours.nearest(x, reference[:2], 5)[0].shape == (20, 2)
    # Few dimensions go by another way.
    found, row = neighbours.nearest(x[:, :2], reference[:, :2], k)
    table = distance.cdist(x[:, :2], reference[:, :2])
    np.testing.assert_allclose(found, np.sort(table, 1)[:, :k])
    np.testing.assert_allclose(np.take_along_axis(table, row, 1), found)


@pytest.mark.parametrize("k", [1, 4])
def test_the_distance_to_another_row(k):
    x = np.random.default_rng(0).normal(size=(40, 10))
    table = np.sort(distance.cdist(x, x), 1)
    np.testing.assert_allclose(neighbours.radii(x, k), table[:, k])
    twice = np.concatenate([x, x])
    assert neighbours.radii(twice, 1).max() < 1e-6, "an equal row is another row"


def test_distances_in_blocks_are_those_of_the_table(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_MB", 0.001)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 9)) + 1e3, rng.normal(size=(20, 9)) + 1e3
    blocks = list(neighbours.squared_distances(x, y))
    assert len(blocks) > 3 and blocks[-1][0].stop == 30
    found = np.concatenate([block for _, block in blocks])
    np.testing.assert_allclose(found, distance.cdist(x, y) ** 2, atol=1e-4)
    # No rounding puts what is at a distance beyond it.
    same = np.concatenate([block for _, block in neighbours.squared_distances(x, x)])
    assert (np.diag(same) <= 0).all()


def test_duplicates_are_the_pairs_within_both_radii(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_MB", 0.001)
    rng = np.random.default_rng(0)
    x, radius = rng.integers(0, 6, (40, 3)).astype(np.uint8), rng.uniform(0, 3, 40)
    apart = distance.cdist(x, x)
    expected = {
        (i, j)
        for i in range(40)
        for j in range(i + 1, 40)
        if apart[i, j] <= min(radius[i], radius[j])
    }
    assert {tuple(pair) for pair in neighbours.pairs_within(x, radius).T} == expected
    assert len(expected) > 10
