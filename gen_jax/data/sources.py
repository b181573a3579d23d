"""Where examples come from: a name in the config -> train, validation and test splits."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import Examples, Source, carve
from gen_jax.data.examples import batch as make_batch
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError

# A test set, of data that come without one, is carved by a seed that no config changes.
TEST_SEED = 777
IMAGE_PREPROCESSING = {
    "dynamic_binarization": ("binary", True),
    "fixed_binarization": ("binary", False),
    "bytes": ("bytes", False),
    "uniform_dequantization": ("real", True),
}


# What `data.name` may be, besides any image dataset that TFDS has prepared.
NAMES = {
    "digits": "scikit-learn's digits, 8x8, 17 grey levels; they come with it",
    "ring": "eight Gaussians on a ring in the plane, drawn by a seed",
    "grid": "25 Gaussians on a grid in the plane, drawn by a seed",
    "gaussians": "eight Gaussians that touch, drawn by a seed; their density is known",
    "checkerboard": "every other square of a board, drawn by a seed; its density is known",
    "moons": "two half circles, drawn by a seed",
    "pinwheel": "five arms, drawn by a seed",
    "swiss_roll": "a spiral, drawn by a seed",
    "simulator:two_moons": "what a simulator makes of draws of a prior; gaussian_mixture, slcp and "
    "gaussian_linear likewise",
    "mnist": "MNIST, 28x28 grey, prepared by TFDS or from its four idx files in data.manual_dir",
    "fashion_mnist": "Fashion-MNIST, likewise",
    "kmnist": "Kuzushiji-MNIST, likewise",
    "usps": "digits of letters' postcodes, 16x16 grey, likewise",
    "stacked_mnist": "triples of MNIST's digits, one in each channel: 1,000 modes",
    "text:/path": "a text, in windows of its characters",
    "lines:/path": "a text whose lines are the examples, as names",
    "music:/path.mat": "pieces as frames of 88 keys, in the form of Boulanger-Lewandowski's sets",
    "chords": "chords with a melody above them, drawn by a seed, as music",
    "audio:/path": "a folder of wav files; spoken digits, or folders as classes",
    "notes": "notes that fade, drawn by a seed, as sound",
    "grammar": "sentences of a small grammar, drawn by a seed, as a text",
    "folder:/path": "a folder of images; folders in it are classes, train/ and test/ splits",
    "pairs:edges/NAME": "pictures of another dataset, each with its edges; scratched and blurred "
    "likewise",
    "unpaired:A,B": "pictures of B and of A, which do not belong together",
    "mirrored:NAME": "pictures of another dataset, left and right exchanged; upside_down:NAME, and "
    "inverted:NAME of black and white, likewise",
    "one_class:3/NAME": "one class of another dataset; the others of its test split are anomalies",
    "latents:RUN": "encodings of another run's data, which launch.py encode has written",
    "arrays:/path/to.npz": "x and label in a file of numpy's; gen_jax.fit(arrays=...) in memory",
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset: what an example is, and its splits train, validation and test.

    Of sequences, `context` is `data.context`. With `data.anomalies`, or of one class alone, there
    is a split "anomalies" too, with labels of its own.
    """

    name: str
    spec: DataSpec
    splits: dict[str, Examples]
    fingerprint: str = ""
    context: int = 0
    files: tuple[str, ...] = ()

    def batch(self, split: str, index: Sequence[int]) -> Batch:
        """Examples `index` [B] of a split as models are given them, with their fixed draw."""
        return make_batch(self.spec, self.splits[split], index)


def load(config: ConfigDict, arrays: Mapping[str, np.ndarray] | None = None) -> Dataset:
    """The dataset that the `data` section of a config names.

    Args:
      config: the `data` section.
      arrays: the data themselves, where `config.name` is "arrays": see data/readers/arrays.py.

    Raises:
      UserError: for an unknown name or preprocessing, and for files that are missing or damaged.
    """
    source = _read(config.name, config, arrays)
    spec = _spec(config, source)
    splits = dict(source.splits)
    if "test" not in splits:
        splits["train"], splits["test"] = carve(
            splits["train"], "test", max(1, len(splits["train"]) // 10), TEST_SEED
        )
    if "validation" not in splits:
        splits["train"], splits["validation"] = carve(
            splits["train"], "validation", config.num_validation, config.split_seed
        )
    if config.anomalies:
        splits["anomalies"] = _anomalies(spec, config)
    context = config.context if spec.medium else 0
    return Dataset(config.name, spec, splits, source.fingerprint, context, source.files)


def _read(name: str, config: ConfigDict, given: Mapping[str, np.ndarray] | None = None) -> Source:
    # Imported here: each reader brings a library that only its datasets need.
    from gen_jax.data.readers import (
        altered,
        arrays,
        audio,
        digits,
        folder,
        music,
        one_class,
        pairs,
        simulators,
        stacked,
        synthetic,
        text,
        tfds,
    )

    if name == "digits":
        return digits.read(TEST_SEED)
    if name in {**synthetic.MODES, **synthetic.SHAPES}:
        return synthetic.read(name)
    if name.startswith("simulator:"):
        return simulators.read(config)
    if name == "stacked_mnist":
        return stacked.read(config)
    if name == "arrays":
        return arrays.read(given)
    if name.startswith("latents:"):
        return arrays.read_latents(name.removeprefix("latents:"))
    if name.startswith("arrays:"):
        return arrays.read_file(name.removeprefix("arrays:"))
    made = {"grammar": text.grammar, "chords": music.chords, "notes": audio.notes}
    if name in made:
        return made[name](config)
    if name.startswith("text:"):
        return text.read(name.removeprefix("text:"), config)
    if name.startswith("lines:"):
        return text.read_lines(name.removeprefix("lines:"), config)
    if name.startswith("music:"):
        return music.read(name.removeprefix("music:"), config)
    if name.startswith("audio:"):
        return audio.read(name.removeprefix("audio:"), config)
    if name.startswith("pairs:"):
        return pairs.read_filtered(name.removeprefix("pairs:"), config, _read)
    if name.startswith("unpaired:"):
        return pairs.read_unpaired(name.removeprefix("unpaired:"), config, _read)
    change, colon, altered_name = name.partition(":")
    if colon and change in altered.CHANGES:
        return altered.read(change, altered_name, config, _read)
    if name.startswith("one_class:"):
        return one_class.read(name.removeprefix("one_class:"), config, _read)
    if name.startswith("folder:"):
        return folder.read(name.removeprefix("folder:"), config)
    if tfds.may_have(name, config):
        return tfds.read(name, config)
    close = difflib.get_close_matches(name, NAMES, 1)
    raise UserError(
        f"unknown dataset {name!r}; "
        + (f"did you mean {close[0]}? " if close else "")
        + f"valid are: {', '.join(NAMES)}, or any image dataset prepared by TFDS in data_dir"
    )


def _anomalies(spec: DataSpec, config: ConfigDict) -> Examples:
    """`data.anomalies`: its test split, or all of it where it is one set.

    Pictures of files are brought to the size of square data, and to grey where these are grey.

    Raises:
      UserError: if its examples are of another form.
    """
    name = config.anomalies
    config = config.copy_and_resolve_references()
    if spec.is_image and spec.shape[0] == spec.shape[1]:
        config.image_size, config.grayscale = spec.shape[0], spec.shape[-1] == 1
    source = _read(name, config)
    split = "test" if "test" in source.splits else "train"
    forms = [f"{s.shape} with {s.levels} levels" for s in (source, spec)]
    if forms[0] != forms[1]:
        raise UserError(
            f"data.anomalies={name} has examples of shape {forms[0]}, and {config.name} of "
            f"{forms[1]}; choose others, or train with --config.data.image_size and grayscale"
        )
    return dataclasses.replace(source.splits[split], split=f"{name}/{split}")


def _spec(config: ConfigDict, source: Source) -> DataSpec:
    valid = list(IMAGE_PREPROCESSING) if source.levels else ["none"]
    if source.medium:
        valid = {"sound": ["bytes"], "music": ["fixed_binarization"]}.get(source.medium, ["none"])
    if config.preprocess not in valid:
        raise UserError(
            f"data.preprocess {config.preprocess!r} does not suit {config.name}; use "
            f"--config.data.preprocess={' or '.join(valid)}"
        )
    kind, dynamic = IMAGE_PREPROCESSING.get(config.preprocess, ("real", True))
    return DataSpec(
        kind="tokens" if source.vocabulary else kind,
        shape=source.shape,
        levels=source.levels,
        num_classes=len(source.class_names),
        class_names=source.class_names,
        dynamic=dynamic,
        vocabulary=source.vocabulary,
        given=source.given,
        medium=source.medium,
        rate=source.rate,
    )
