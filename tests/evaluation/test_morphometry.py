"""Measures of drawings whose thickness, slant and size are known."""

import numpy as np
import pytest

from gen_jax.evaluation import morphometry


def strip(width, lean=0.0, size=60, length=40):
    """A white stroke of that width, leaning by so many columns a row, smooth at its edges."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    across = np.abs(x + lean * y)
    picture = np.clip(width / 2 + 0.5 - across, 0, 1) * (np.abs(y) < length / 2)
    return np.uint8(np.round(255 * picture))[..., None]


def test_strokes_are_as_thick_as_they_were_drawn():
    pictures = np.stack([strip(width) for width in (2, 4, 6, 10)])
    found = morphometry.measure(pictures)["thickness"]
    np.testing.assert_allclose(found, [2, 4, 6, 10], rtol=0.15)
    assert (np.diff(found) > 0.8).all()


def test_a_stroke_leans_as_it_was_drawn():
    pictures = np.stack([strip(4, lean) for lean in (-0.5, 0.0, 0.3)])
    found = morphometry.measure(pictures)
    np.testing.assert_allclose(found["slant"], [-0.5, 0.0, 0.3], atol=0.03)
    # Upright it is no wider than the one that never leant.
    np.testing.assert_allclose(found["width"], found["width"][1], rtol=0.1)


def test_size_and_mass_are_those_of_a_box():
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[4:16, 5:25] = 255
    found = {name: value[0] for name, value in morphometry.measure(picture[None]).items()}
    assert found["mass"] == pytest.approx(12 * 20 / 600)
    assert found["height"] == pytest.approx(2 * np.sqrt((12**2 - 1) / 12))
    assert found["width"] == pytest.approx(2 * np.sqrt((20**2 - 1) / 12))
    assert found["slant"] == pytest.approx(0)


def test_nothing_has_nothing_of_any():
    found = morphometry.measure(np.zeros((2, 8, 8, 1), np.uint8))
    assert all((values == 0).all() for values in found.values())
    point = np.zeros((1, 8, 8, 1), np.uint8)
    point[0, 3, 3] = 9
    assert all(np.isfinite(values).all() for values in morphometry.measure(point).values())
