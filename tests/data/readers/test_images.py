"""Decoding of images: of any number of bits, transparent, lying on their side."""

import io

import numpy as np
import pytest
from own_data import data_config
from PIL import Image

from gen_jax.data.readers import images
from gen_jax.errors import UserError


def decode(image, kind="PNG", channels=1, background="white", **save):
    file = io.BytesIO()
    image.save(file, kind, **save)
    config = data_config("digits", background=background)
    return images.decode(file.getvalue(), "a.png", config, channels)


LEVELS = np.linspace(0, 1, 20).reshape(4, 5)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.fromarray(np.uint16(65535 * LEVELS)), "PNG"),
        (Image.fromarray(np.uint16(65535 * LEVELS)), "TIFF"),
        (Image.fromarray(np.int32(65535 * LEVELS)), "TIFF"),
        (Image.fromarray(np.float32(LEVELS)), "TIFF"),
        (Image.fromarray(np.uint8(np.round(255 * LEVELS))), "PNG"),
    ],
    ids=["16 bits", "16 bits as TIFF", "whole numbers", "real numbers", "8 bits"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_all_levels_are_kept(image, kind, channels):
    found = decode(image, kind, channels)
    assert found.shape == (4, 5, channels)
    assert np.abs(found - 255 * LEVELS[..., None]).max() < 1
    assert found.min() == 0 and found.max() == 255


def test_one_bit_is_black_and_white():
    found = decode(Image.fromarray(LEVELS > 0.5))
    np.testing.assert_array_equal(found[..., 0], np.where(LEVELS > 0.5, 255, 0))


def test_scaling_is_told_once(capsys):
    images.say_once.cache_clear()
    for _ in range(3):
        decode(Image.fromarray(np.uint16(65535 * LEVELS)))
    assert capsys.readouterr().out == "note: images of 16 bits are scaled to 8\n"


@pytest.mark.parametrize(
    "pixels",
    [
        np.float32(255 * LEVELS),
        np.float32(LEVELS - 0.5),
        np.float32(LEVELS * np.nan),
        np.int32(70_000 * LEVELS),
        np.int32(-LEVELS * 9),
    ],
    ids=["0 to 255", "negative", "NaN", "above 16 bits", "negative whole"],
)
def test_numbers_that_are_no_grey_levels_are_refused(pixels):
    with pytest.raises(UserError, match=r"a.png has (real|whole) numbers from .* scale them"):
        decode(Image.fromarray(pixels), "TIFF")


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0), ("#804020", 128)])
def test_what_is_transparent_is_the_background(background, value):
    """A black glyph on nothing, half of it half transparent."""
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:, 1, 3], pixels[:, 2, 3] = 255, 128
    found = decode(Image.fromarray(pixels), channels=3, background=background)
    assert (found[:, 0, 0] == value).all() and (found[:, 1] == 0).all()
    assert np.abs(found[:, 2, 0] - value * (1 - 128 / 255)).max() <= 1
    palette = Image.fromarray(np.uint8([[0, 1]])).convert("P")
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert decode(palette, background=background, transparency=0)[0, :, 0].tolist() == [
        images.decode(_png(Image.new("RGB", (1, 1), background)), "a", data_config("digits"), 1)[
            0, 0, 0
        ],
        9,
    ]


def _png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_background_that_is_no_colour_is_refused():
    with pytest.raises(UserError, match=r"data.background='whitish' is no colour; use"):
        decode(Image.new("LA", (2, 2)), background="whitish")


@pytest.mark.parametrize(("tag", "turned"), [(3, 2), (6, -1), (8, 1)])
def test_pictures_stand_upright_as_their_camera_says(tag, turned):
    exif = Image.Exif()
    exif[0x0112] = tag
    pixels = np.uint8(np.arange(8).reshape(2, 4) * 30)
    found = decode(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(found[..., 0], np.rot90(pixels, turned))
