"""Sequences as what people read, hear and see: texts, sounds, MIDI files and their pictures."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from gen_jax import sound
from gen_jax.data.examples import Examples
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.report import charts

_MUSIC_RATE = 11_025  # samples a second of music that is rendered

# Of samples that are shown where nobody asked for a length: elements, and how many samples.
_SHOWN = {"text": (400, 3), "music": (64, 3), "lines": (0, 24)}
_SHOWN_SECONDS, _SHOWN_SOUNDS = 1.0, 4


def shown(spec: DataSpec) -> tuple[int, int]:
    """(how many samples a report has, of how many elements; 0: as in training)."""
    if spec.medium == "sound":
        return _SHOWN_SOUNDS, round(_SHOWN_SECONDS * spec.rate)
    length, count = _SHOWN[spec.medium]
    return count, length


def text(spec: DataSpec, x: np.ndarray) -> str:
    """One sequence of symbols [T] as text; a line without its break and what is behind it."""
    symbols = "".join(spec.vocabulary[number] for number in np.asarray(x, int))
    return symbols.partition("\n")[0] if spec.medium == "lines" else symbols


def files_of(spec: DataSpec, x: np.ndarray, name: str) -> dict[str, bytes]:
    """The files that samples [N, T, ...] become, by their names, which begin with `name`.

    Text and lines are one .txt; each sound is a .wav; each piece of music a .mid, and a .wav that
    it sounds like.
    """
    if spec.medium == "lines":
        return {f"{name}.txt": "".join(f"{text(spec, row)}\n" for row in x).encode()}
    if spec.medium == "text":
        parts = [f"--- {number} ---\n{text(spec, row)}\n" for number, row in enumerate(x)]
        return {f"{name}.txt": "\n".join(parts if len(x) > 1 else [text(spec, x[0])]).encode()}
    found = {}
    for number, row in enumerate(x):
        if spec.medium == "sound":
            found[f"{name}_{number}.wav"] = sound.wav(sound.from_mu_law(row), spec.rate)
        else:
            found[f"{name}_{number}.mid"] = sound.midi(row, spec.rate)
            played = sound.render(row, spec.rate, _MUSIC_RATE)
            found[f"{name}_{number}.wav"] = sound.wav(played, _MUSIC_RATE)
    return found


def picture(spec: DataSpec, x: np.ndarray) -> np.ndarray | None:
    """Spectrograms of sounds or piano rolls of music, uint8 [H, W, 3]; None of text."""
    if spec.medium == "sound":
        return charts.spectrograms([sound.from_mu_law(row) for row in x], spec.rate)
    if spec.medium == "music":
        return charts.piano_rolls(list(x), spec.rate)
    return None


def prompt(spec: DataSpec, given: str, read: Callable[[], Mapping[str, Examples]]) -> np.ndarray:
    """The beginning that a user gives, [P, ...] in model units.

    Args:
      spec: of the model's data.
      given: characters of a text; FILE.wav of sound; FILE.mid of music; or SPLIT:NUMBER:COUNT, the
        first elements of an example of the data.
      read: the splits of the data, for the last of these alone.

    Raises:
      UserError: for symbols or files that the model cannot be given.
    """
    if not spec.medium:
        raise UserError("--prompt is of models of text, sound and music; this one is of none")
    part = re.fullmatch(r"(train|validation|test):(\d+):(\d+)", given)
    if part:
        split, number, count = part[1], int(part[2]), int(part[3])
        examples = read()
        if number >= len(examples[split]) or not 0 < count <= spec.shape[0]:
            raise UserError(
                f"--prompt={given}: {split} has {len(examples[split]):,} examples of "
                f"{spec.shape[0]:,} elements"
            )
        return examples[split].gather(np.array([number]))["x"][0, :count]
    if spec.medium in ("text", "lines"):
        unknown = sorted({*given} - {*spec.vocabulary})
        if unknown or not given:
            known = "".join(symbol for symbol in spec.vocabulary if symbol.isprintable())
            what = f"has {' '.join(map(repr, unknown))}, which" if unknown else "is empty; what"
            raise UserError(f"--prompt {what} the model does not know; it knows: {known}")
        return np.array([spec.vocabulary.index(symbol) for symbol in given])
    path, ending = Path(given).expanduser(), {"sound": ".wav", "music": ".mid"}[spec.medium]
    if path.suffix != ending or not path.is_file():
        raise UserError(f"--prompt={given} must be FILE{ending}, or test:NUMBER:COUNT of the data")
    if spec.medium == "music":
        return sound.read_midi(path, spec.rate)
    samples, rate = sound.read_wav(path)
    return sound.to_mu_law(sound.resample(samples, rate, round(spec.rate)))
