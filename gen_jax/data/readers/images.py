"""Decoding and resizing of image files, for every reader that meets them."""

import io
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gen_jax.errors import UserError

# Not all that PIL knows: for some formats it starts other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_MAX_PIXELS = 2**26  # below PIL's own limit, which is a warning only


def decode(data: bytes | Path, name: str, config: ConfigDict) -> np.ndarray:
    """An encoded image -> uint8 [H, W, C], grey or RGB, cropped and resized as configured.

    `image_size` = 0 keeps the size; else the image becomes a square of that size, cut from its
    middle (`crop`) or squeezed.

    Raises:
      UserError: for a file that is no image, is damaged, or is too large to be harmless.
    """
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, "r", FORMATS) as x:
            if x.width * x.height > _MAX_PIXELS:  # before they are unpacked
                raise Image.DecompressionBombError
            image = x.convert("L" if config.grayscale else "RGB")
    except Image.DecompressionBombError:
        raise UserError(f"{name} has too many pixels; remove it or make it smaller") from None
    except Exception as error:  # whatever PIL makes of a damaged file
        raise UserError(f"{name} is not a whole image ({error}); remove or replace it") from None
    array = resize(np.asarray(image), config)
    return array[..., None] if array.ndim == 2 else array


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
