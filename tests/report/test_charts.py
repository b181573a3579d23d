"""Charts are drawn, and leave a notebook's own alone."""

import numpy as np

from gen_jax.report import charts


def test_scatter_draws():
    points = np.random.default_rng(0).normal(size=(50, 2))
    assert charts.scatter(points, points).shape[-1] == 3


def test_the_backend_of_matplotlib_stays():
    import matplotlib

    matplotlib.use("svg")
    try:
        charts.scatter(np.zeros((2, 2)), np.eye(2))
        assert matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use("agg")
