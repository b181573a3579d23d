import numpy as np
import pytest
from PIL import Image

from gen_jax import pictures


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_tile_places_every_image(channels):
    images = np.arange(5 * 60 * 70 * channels).reshape(5, 60, 70, channels).astype(np.uint8)
    picture = pictures.tile(images, columns=3, gap=2)
    assert picture.shape == (2 * 62 + 2, 3 * 72 + 2, 3) and picture.dtype == np.uint8
    shown = {1: images.repeat(3, -1), 2: np.pad(images, [(0, 0)] * 3 + [(0, 1)])}.get(
        channels, images[..., :3]
    )
    for index in range(5):
        top, left = 2 + index // 3 * 62, 2 + index % 3 * 72
        np.testing.assert_array_equal(picture[top : top + 60, left : left + 70], shown[index])
    assert (picture[64:, 146:] == 255).all()  # where a sixth would be


def test_small_images_are_enlarged_by_a_whole_factor():
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 5, 1)).astype(np.uint8)
    picture = pictures.tile(image, gap=0)
    assert picture.shape == (56, 35, 3)
    np.testing.assert_array_equal(picture[3::7, 3::7, 0], image[0, ..., 0])


def test_pairs_put_reconstructions_below_originals():
    originals = np.full((5, 56, 56, 1), 10, np.uint8)
    picture = pictures.pairs(originals, originals + 50, columns=4)
    column = picture[:, 30, 0]
    order = column[np.flatnonzero(np.diff(column.astype(int), prepend=-1))]
    assert [v for v in order if v != 255] == [10, 60, 10, 60]
    assert (picture[-30, 100:] == 255).all()  # the second row has one image


def test_a_picture_is_written_whole(tmp_path):
    drawn = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    path = pictures.save_png(tmp_path / "new" / "a.png", drawn)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), drawn)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
