"""Polyphonic music as frames of a piano's 88 keys."""

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import Source, WindowExamples
from gen_jax.data.readers.text import check_window, find
from gen_jax.errors import UserError
from gen_jax.sound import KEYS

# As Boulanger-Lewandowski et al. 2012 (arXiv 1206.6392) divide their sets.
_NAMES = {"train": "traindata", "validation": "validdata", "test": "testdata"}
_RATE = 4.0  # frames a second, where a config says nothing

_SCALES = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16))  # I, IV, V and vi of a major key


def read(path: str, config: ConfigDict) -> Source:
    """A .mat file of pieces, `traindata`, `validdata` and `testdata`: cells of frames [T, 88].

    Raises:
      UserError: if there is no such file, or it holds something else.
    """
    from scipy import io

    file = find(path, config, "music")
    form = "it needs traindata, validdata and testdata, cells of frames [T, 88] of 0 and 1"
    try:
        found = io.loadmat(file)
    except Exception as error:  # scipy raises whatever a damaged file leads to
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{file} is no sound .mat file ({reason}); {form}") from None
    pieces = {}
    for split, name in _NAMES.items():
        if name not in found or found[name].dtype != object or not found[name].size:
            raise UserError(f"{file} has no {name}; {form}")
        pieces[split] = [np.asarray(piece) for piece in found[name].reshape(-1)]
        for piece in pieces[split]:
            if piece.ndim != 2 or piece.shape[1] != KEYS or not np.isin(piece, (0, 1)).all():
                raise UserError(f"{file}: {name} has a piece of shape {list(piece.shape)}; {form}")
    return _source(pieces, config)


def chords(config: ConfigDict) -> Source:
    """Chords of a major key with a melody above them, by a fixed seed; they need no file."""
    pieces = {}
    for seed, (split, count) in enumerate((("train", 160), ("validation", 20), ("test", 20))):
        generator = np.random.Generator(np.random.Philox(key=seed))
        pieces[split] = [_piece(generator) for _ in range(count)]
    return _source(pieces, config)


def _piece(generator: np.random.Generator) -> np.ndarray:
    root, bars = generator.integers(24, 36), generator.integers(8, 16)
    frames = np.zeros((4 * bars, KEYS), np.uint8)
    chord = 0
    for bar in range(bars):
        keys = root + np.array(_SCALES[chord])
        frames[4 * bar : 4 * bar + 4, keys] = 1
        for beat in range(4):
            frames[4 * bar + beat, generator.choice(keys) + 12] = 1
        # As often the next of I IV V vi as any.
        chord = (chord + 1) % 4 if generator.random() < 0.5 else generator.integers(4)
    return frames


def _source(pieces: dict[str, list[np.ndarray]], config: ConfigDict) -> Source:
    window, stride = check_window(config)
    splits = {
        split: WindowExamples.of_pieces(
            split,
            [np.uint8(piece) for piece in own],
            window,
            1 if split == "train" else stride,
            unscored=1,
            once=split != "train",
        )
        for split, own in pieces.items()
    }
    rate = config.rate or _RATE
    return Source(splits, (window, KEYS), levels=2, medium="music", rate=rate)
