"""Masks by name, and of a picture of the user's."""

import numpy as np
import pytest
from PIL import Image

from gen_jax.errors import UserError
from gen_jax.evaluation import masks

SHAPE = (8, 6)


@pytest.mark.parametrize("name", masks.KNOWN)
def test_a_mask_leaves_something_and_hides_something(name):
    known = masks.known_part(name, SHAPE)
    assert known.shape == SHAPE and known.dtype == bool
    assert 0 < known.sum() < known.size
    np.testing.assert_array_equal(known, masks.known_part(name, SHAPE))


def test_halves_and_quadrants():
    of = {name: masks.known_part(name, SHAPE) for name in masks.KNOWN}
    assert of["top"][:4].all() and not of["top"][4:].any()
    np.testing.assert_array_equal(of["bottom"], ~of["top"])
    np.testing.assert_array_equal(of["right"], ~of["left"])
    np.testing.assert_array_equal(of["two_quadrants"], of["left"])
    assert of["one_quadrant"][4:, :3].all() and of["one_quadrant"].sum() == 12
    assert not of["three_quadrants"][:4, 3:].any() and of["three_quadrants"].sum() == 36


def test_a_picture_says_what_is_known(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.uint8([[255, 0], [200, 100]])).save(path)
    np.testing.assert_array_equal(
        masks.known_part(str(path), (2, 2)), [[True, False], [True, False]]
    )
    with pytest.raises(UserError, match=r"has \[2, 2\] pixels; it needs \[8, 6\]"):
        masks.known_part(str(path), SHAPE)
    Image.fromarray(np.uint8([[255, 255]])).save(path)
    with pytest.raises(UserError, match="nothing to complete"):
        masks.known_part(str(path), (1, 2))
    path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="no picture of a mask"):
        masks.known_part(str(path), SHAPE)
    with pytest.raises(UserError, match=r"unknown mask 'midle'.*three_quadrants"):
        masks.known_part("midle", SHAPE)
