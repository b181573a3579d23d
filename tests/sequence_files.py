"""Small texts, sounds and music under the names of those that experiments read."""

from pathlib import Path

import numpy as np
from scipy import io

from gen_jax import sound


def write_all(folder: Path) -> None:
    """Into a `manual_dir`."""
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["ROMEO:", "of", "night", "what"], 6)) for _ in range(200)]
    (folder / "tinyshakespeare.txt").write_text("\n".join(words))
    names = ["".join(rng.choice([*"abcde"], rng.integers(2, 8))) for _ in range(300)]
    (folder / "names.txt").write_text("\n".join(names))
    for name in ("JSB_Chorales", "Nottingham"):
        write_music(folder / "music" / f"{name}.mat", (30, 88))
    for digit, speaker in ((0, "ann"), (1, "bo")):
        for index in range(10):
            clip = 0.5 * np.sin(np.arange(300) / (3 + digit + index))
            write_clip(folder / "speech" / "fsdd" / f"{digit}_{speaker}_{index}.wav", clip)


def write_clip(path: Path, samples: np.ndarray, rate: int = 4_000) -> None:
    """A wav file."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(sound.wav(np.float32(samples), rate))


def write_music(
    path: Path,
    shape: tuple[int, int],
    names: tuple[str, ...] = ("traindata", "validdata", "testdata"),
    values: tuple[int, int] = (0, 1),
) -> None:
    """A .mat file of three pieces for each split, of one of the two values in turn."""
    path.parent.mkdir(exist_ok=True, parents=True)
    cells = np.empty((1, 3), object)
    for number in range(3):
        cells[0, number] = np.uint8(np.resize(values, shape))
    io.savemat(path, dict.fromkeys(names, cells))
