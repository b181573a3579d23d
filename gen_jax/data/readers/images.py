"""Decoding and resizing of image files, for every reader that meets them."""

import functools
import io
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageColor, ImageOps

from gen_jax.data.examples import Source
from gen_jax.errors import UserError

# Not all that PIL knows: for some formats it starts other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_MAX_PIXELS = 2**26  # below PIL's own limit, which is a warning only


@functools.cache
def say_once(text: str) -> None:
    """Tells what is done to the data, however many images it is done to."""
    print(text, flush=True)


def check_pictures(name: str, source: Source) -> Source:
    """A source that has pictures, as it is.

    Raises:
      UserError: if it has none, or more to each of them than a label.
    """
    if len(source.shape) != 3 or not source.levels or source.given:
        raise UserError(f"{name} has no pictures with grey levels; choose another dataset")
    return source


def decode(
    data: bytes | Path, name: str, config: ConfigDict, channels: int | None = None
) -> np.ndarray:
    """An encoded image -> uint8 [H, W, C], grey or RGB, cropped and resized as configured.

    It stands upright, as the tag of a camera says, and what is transparent in it is the colour
    `background`. More than 8 bits are scaled to 8. `image_size` = 0 keeps the size; else the image
    becomes a square of that size, cut from its middle (`crop`) or squeezed.

    Args:
      data: the file, or what is in it.
      name: what to call it in an error.
      config: the `data` section.
      channels: 1 or 3; by default 1 where `config.grayscale` and 3 elsewhere.

    Raises:
      UserError: for a file that is no image, is damaged, has numbers that are no grey levels, or
        is too large to be harmless.
    """
    grey = config.grayscale if channels is None else channels == 1
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, "r", FORMATS) as x:
            if x.width * x.height > _MAX_PIXELS:  # before they are unpacked
                raise Image.DecompressionBombError
            image = ImageOps.exif_transpose(x)
            image.load()
    except Image.DecompressionBombError:
        raise UserError(f"{name} has too many pixels; remove it or make it smaller") from None
    except Exception as error:  # whatever PIL makes of a damaged file
        raise UserError(f"{name} is not a whole image ({error}); remove or replace it") from None
    image = _opaque(_eight_bits(image, name), config.background)
    array = resize(np.asarray(image.convert("L" if grey else "RGB")), config)
    return array[..., None] if array.ndim == 2 else array


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """An image of more levels, scaled: PIL's own conversion would cut them off at 255."""
    if image.mode.startswith("I;16"):
        levels = np.asarray(image.convert("I"), np.float64) / 65535
        say_once("note: images of 16 bits are scaled to 8")
    elif image.mode in ("I", "F"):
        levels = np.asarray(image, np.float64)
        if image.mode == "I" and levels.min(initial=0) >= 0 and levels.max(initial=0) <= 65535:
            levels = levels / 65535
            say_once("note: images of 16 bits are scaled to 8")
        elif image.mode == "F" and levels.min(initial=0) >= 0 and levels.max(initial=0) <= 1:
            say_once("note: images of real numbers from 0 to 1 are scaled to 8 bits")
        else:  # of NaN too
            low, high = np.min(levels, initial=np.inf), np.max(levels, initial=-np.inf)
            kind = "real numbers" if image.mode == "F" else "whole numbers"
            raise UserError(
                f"{name} has {kind} from {low:g} to {high:g}, and grey levels are from 0 to 1 or "
                "of 8 or 16 bits; scale them and save it anew"
            )
    else:
        return image
    return Image.fromarray(np.round(255 * levels).astype(np.uint8))


def _opaque(image: Image.Image, background: str) -> Image.Image:
    """What is transparent in it, as the colour that `data.background` names."""
    if not image.has_transparency_data:
        return image
    try:
        color = ImageColor.getrgb(background)[:3]
    except ValueError:
        raise UserError(
            f"data.background={background!r} is no colour; use --config.data.background=white, "
            "black or one as #ffd700"
        ) from None
    above = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (*color, 255))
    return Image.alpha_composite(ground, above).convert("RGB")


def resize(array: np.ndarray, config: ConfigDict) -> np.ndarray:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] -> the configured size, with as many axes."""
    size = config.image_size
    if not size or array.shape[:2] == (size, size):
        return array
    grey = array.ndim == 3 and array.shape[-1] == 1
    image = Image.fromarray(array[..., 0] if grey else array)
    if config.crop:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    resized = np.asarray(image.resize((size, size), Image.Resampling.BOX))
    return resized[..., None] if grey else resized
