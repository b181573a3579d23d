"""What can be measured of a grey drawing: how bright it is, how thick its strokes, how slanted.

After Morpho-MNIST (Castro et al. 2019, arXiv 1809.10780), with plainer measures. Bright is what is
drawn, on dark. Of a picture of several channels their mean is measured.
"""

import numpy as np
from scipy import ndimage

_INK = 0.5  # of the brightest: from there on a pixel is part of a stroke


def measure(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Each of `ATTRIBUTES` of pictures uint8 [N, H, W, C] -> {name: [N]}, float64.

    A picture with nothing on it has 0 of each.
    """
    grey = np.asarray(pictures, np.float64).mean(-1) / 255
    return {
        name: np.array([function(picture) if picture.max() > 0 else 0.0 for picture in grey])
        for name, function in ATTRIBUTES.items()
    }


def mass(picture: np.ndarray) -> float:
    """The mean brightness of a picture [H, W], from 0 to 1."""
    return picture.mean()


def thickness(picture: np.ndarray) -> float:
    """The mean width of strokes in pixels.

    Within a strip of width w a point is w / 4 from its edge in the mean; a pixel's middle is half a
    pixel nearer to it than to the middle of the next pixel beyond.
    """
    ink = picture >= _INK * picture.max()
    apart = ndimage.distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1][ink]
    return 4 * (apart - 0.5).mean()


def slant(picture: np.ndarray) -> float:
    """How far a drawing leans to the right: columns for each row upwards, of its second moments."""
    y, x, weight = _places(picture)
    spread = (weight * y**2).sum()
    return -(weight * x * y).sum() / spread if spread > 1e-9 else 0.0


def width(picture: np.ndarray) -> float:
    """Twice the standard deviation of where it is drawn across, upright, in pixels."""
    y, x, weight = _places(picture)
    upright = x + slant(picture) * y
    return 2 * np.sqrt((weight * upright**2).sum())


def height(picture: np.ndarray) -> float:
    """Twice the standard deviation of where it is drawn from top to bottom, in pixels."""
    y, _, weight = _places(picture)
    return 2 * np.sqrt((weight * y**2).sum())


def _places(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of pixels from the middle of what is drawn, and how much is drawn there."""
    weight = picture / picture.sum()
    y, x = np.indices(picture.shape).astype(np.float64)
    return y - (weight * y).sum(), x - (weight * x).sum(), weight


ATTRIBUTES = {
    "mass": mass,
    "thickness": thickness,
    "slant": slant,
    "width": width,
    "height": height,
}
