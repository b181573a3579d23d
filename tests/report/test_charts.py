"""Charts are drawn, and leave a notebook's own alone."""

import io

import numpy as np
from PIL import Image

from gen_jax.report import charts


def test_curves_and_scatter_draw():
    rows = [{"step": s, "loss/a": 1 / s, "validation/loss/a": 2 / s} for s in (1, 2, 3)]
    picture = np.asarray(Image.open(io.BytesIO(charts.curves(rows))))
    assert picture.ndim == 3 and len(np.unique(picture)) > 5
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
