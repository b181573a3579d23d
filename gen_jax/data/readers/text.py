"""Texts as sequences of characters: a file, a file's lines, and sentences of a small grammar."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import ArrayExamples, Source, WindowExamples
from gen_jax.data.readers import tfds
from gen_jax.errors import UserError

# Of a text, in order. What stands before the test part is in training, as it is in other codes: of
# plays it is of the same one.
_VALIDATION, _TEST = 0.05, 0.1

# A grammar of sentences: what each name may become.
_GRAMMAR = {
    "sentence": ("{noun} {verb} {noun}.", "{noun} {verb} {noun} {where}.", "{noun} {verb}."),
    "noun": ("the {thing}", "a {quality} {thing}", "the {quality} {thing}"),
    "verb": ("sees", "follows", "likes", "carries"),
    "where": ("in the {place}", "near the {place}"),
    "thing": ("fox", "crow", "child", "boat", "river"),
    "quality": ("red", "small", "quiet", "old"),
    "place": ("forest", "harbour", "garden"),
}


def find(path: str, config: ConfigDict, what: str) -> Path:
    """A file or a folder as it is named, or in the folder of files that were fetched by hand.

    Raises:
      UserError: if it is in neither.
    """
    given = Path(path).expanduser()
    places = [given] if given.is_absolute() else [given, tfds.manual_dir(config) / given]
    for place in places:
        if place.exists():
            return place
    where = " or ".join(map(str, places))
    raise UserError(
        f"no {what} {where}; put it there, or name the folder that it is in by "
        "--config.data.manual_dir"
    )


def read(path: str, config: ConfigDict) -> Source:
    """A text: windows of `data.window` characters, at every place of what is for training.

    The last tenth is the test set, as in nanoGPT, and the first twentieth validates. There every
    character but the first is in one window where it counts, with `data.context` before it.

    Raises:
      UserError: if there is no such text, or too little of it.
    """
    file = find(path, config, "text")
    return _of_text(_decode(file), str(file), config)


def grammar(config: ConfigDict, num: int = 6_000) -> Source:
    """So many sentences of a grammar, by a fixed seed, as one text."""
    generator = np.random.Generator(np.random.Philox(key=0))

    def expand(name: str) -> str:
        chosen = _GRAMMAR[name][generator.integers(len(_GRAMMAR[name]))]
        for part in _GRAMMAR:
            while "{" + part + "}" in chosen:
                chosen = chosen.replace("{" + part + "}", expand(part), 1)
        return chosen

    lines = [expand("sentence").capitalize() for _ in range(num)]
    return _of_text("\n".join(lines) + "\n", "grammar", config)


def read_lines(path: str, config: ConfigDict) -> Source:
    """A text whose lines are the examples; each ends with its line break, and then is filled.

    Raises:
      UserError: if there is no such text, or it has fewer than three lines with something in them.
    """
    file = find(path, config, "text")
    lines = [f"{line}\n" for line in _decode(file).splitlines() if line.strip()]
    if len(lines) < 3:
        raise UserError(f"{file} has {len(lines)} lines; its lines are the examples: give more")
    vocabulary = tuple(sorted({*"".join(lines)}))
    length = np.array([len(line) for line in lines], np.int32)
    x = np.zeros((len(lines), length.max()), _dtype(vocabulary))
    for row, line in zip(x, lines, strict=True):
        row[: len(line)] = _numbers(line, vocabulary)
    arrays = {"x": x, "length": length, "scored_from": np.zeros_like(length)}
    splits = {"train": ArrayExamples("train", arrays)}
    return Source(splits, x.shape[1:], vocabulary=vocabulary, medium="lines")


def _decode(file: Path) -> str:
    try:
        text = file.read_bytes().decode()
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{file} is no text in UTF-8 ({error}); convert it") from None
    if not text.strip():
        raise UserError(f"{file} is empty; give a text with something in it")
    return text


def _numbers(text: str, vocabulary: tuple[str, ...]) -> np.ndarray:
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known = np.array([ord(symbol) for symbol in vocabulary], np.uint32)
    return np.searchsorted(known, codes).astype(_dtype(vocabulary))


def _dtype(vocabulary: tuple[str, ...]) -> type:
    return np.uint8 if len(vocabulary) <= 256 else np.int32


def _of_text(text: str, name: str, config: ConfigDict) -> Source:
    vocabulary = tuple(sorted({*text}))
    numbers = _numbers(text, vocabulary)
    ends = [int(_VALIDATION * len(numbers)), int((1 - _TEST) * len(numbers))]
    parts = dict(zip(("validation", "train", "test"), np.split(numbers, ends), strict=True))
    window, stride = check_window(config)
    for split, part in parts.items():
        if len(part) < window:
            raise UserError(
                f"{name} has {len(part):,} characters for {split}, fewer than a window: "
                f"--config.data.window={max(len(part), 2)} or a longer text"
            )
    splits = {
        split: WindowExamples.of_pieces(
            split,
            [part],
            window,
            1 if split == "train" else stride,
            unscored=1,
            once=split != "train",
        )
        for split, part in parts.items()
    }
    return Source(splits, (window,), vocabulary=vocabulary, medium="text")


def check_window(config: ConfigDict) -> tuple[int, int]:
    """`data.window`, and from one of its windows to the next where each element counts once.

    Raises:
      UserError: if its context leaves nothing of a window.
    """
    if config.context >= config.window:
        raise UserError(
            f"data.context={config.context} must be less than data.window={config.window}: "
            f"--config.data.context={config.window // 2}"
        )
    return config.window, config.window - config.context
