"""Sound: a folder of wav files, and notes that are made by a seed; as mu-law codes."""

import re
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from gen_jax import sound
from gen_jax.data.examples import HASHED_SHARE, Source, WindowExamples, hashed_place
from gen_jax.data.readers.images import say_once
from gen_jax.data.readers.text import check_window, find
from gen_jax.errors import UserError

# Of the Free Spoken Digit Dataset: DIGIT_SPEAKER_INDEX.wav, whose official test set has these.
_SPOKEN = re.compile(r"(\d)_(\w+)_(\d+)")
_TEST_INDEX, _VALIDATION_INDEX = range(5), range(5, 8)
_NOTES = ("C", "D", "E", "G", "A")
_NOTE_RATE = 4_000
_TRAIN_STRIDES = 8  # windows of training overlap: so many begin within the length of one


def read(path: str, config: ConfigDict) -> Source:
    """The wav files of a folder, of 16 bits, at `data.rate` samples a second.

    Of files that are called DIGIT_SPEAKER_INDEX.wav the label is the digit, or the speaker with
    `--config.data.label=speaker`; recordings 0 to 4 of each are the test set and 5 to 7 validate.
    Of others folders are classes, and a tenth of the files, by their names, tests and another
    validates.

    Raises:
      UserError: if there are no such files.
    """
    root = find(path, config, "folder")
    files = sorted(root.rglob("*.wav"))
    if not files:
        raise UserError(f"{root} has no wav files; name a folder of them")
    rates = {}
    clips = []
    for file in files:
        clip, rate = sound.read_wav(file)
        wanted = round(config.rate) or rates.setdefault("first", rate)
        if rate != wanted:
            say_once(f"note: sounds are resampled to {wanted:,} Hz by scipy.signal.resample_poly")
        clips.append(sound.to_mu_law(sound.resample(clip, rate, wanted)))
    spoken = [_SPOKEN.fullmatch(file.stem) for file in files]
    if all(spoken):
        part = 2 if config.label == "speaker" else 1
        words = [match[part] for match in spoken]
        places = [int(match[3]) for match in spoken]
        test = np.array([place in _TEST_INDEX for place in places])
        validation = np.array([place in _VALIDATION_INDEX for place in places])
    else:
        words = [_folder(file, root) for file in files]
        names = [file.relative_to(root).as_posix() for file in files]
        place = np.array([hashed_place(name, config.split_seed) for name in names])
        test, validation = place < HASHED_SHARE, (place >= 1 - HASHED_SHARE)
    names = tuple(sorted({*words}))
    label = np.array([names.index(word) for word in words], np.int32)
    which = {"train": ~(test | validation), "validation": validation, "test": test}
    for split, chosen in which.items():
        if not chosen.any():
            raise UserError(f"{root} has too few files: none is left for {split}; give more")
    clips = {split: [clips[n] for n in np.flatnonzero(own)] for split, own in which.items()}
    labels = {split: label[own] for split, own in which.items()}
    return _source(clips, labels, names if len(names) > 1 else (), float(wanted), config)


def notes(config: ConfigDict) -> Source:
    """Notes of a scale that fade, by a fixed seed; the label is the note. They need no file."""
    clips, labels = {}, {}
    time = np.arange(_NOTE_RATE // 2) / _NOTE_RATE
    for seed, (split, count) in enumerate((("train", 300), ("validation", 30), ("test", 30))):
        generator = np.random.Generator(np.random.Philox(key=seed))
        labels[split] = generator.integers(0, len(_NOTES), count).astype(np.int32)
        clips[split] = []
        for note in labels[split]:
            pitch = 220 * 2 ** ((0, 2, 4, 7, 9)[note] / 12)
            phase, loud, fade = generator.uniform((0, 0.3, 4), (2 * np.pi, 0.9, 10))
            tone = np.sin(2 * np.pi * pitch * time + phase)
            tone += 0.4 * np.sin(4 * np.pi * pitch * time + phase)
            envelope = np.minimum(time / 0.02, 1) * np.exp(-fade * time)
            hiss = 0.005 * generator.normal(size=len(time))
            clips[split].append(sound.to_mu_law(0.7 * loud * tone * envelope + hiss))
    return _source(clips, labels, _NOTES, float(_NOTE_RATE), config)


def _folder(file: Path, root: Path) -> str:
    return file.relative_to(root).parent.as_posix()


def _source(clips, labels, names: tuple[str, ...], rate: float, config: ConfigDict) -> Source:
    window, stride = check_window(config)
    splits = {
        split: WindowExamples.of_pieces(
            split,
            own,
            window,
            max(1, window // _TRAIN_STRIDES) if split == "train" else stride,
            unscored=1,
            once=split != "train",
            labels=labels[split] if names else None,
        )
        for split, own in clips.items()
    }
    return Source(splits, (window,), sound.LEVELS, names, medium="sound", rate=rate)
