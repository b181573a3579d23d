"""What a classifier sees in pictures, real and drawn: logits and features, computed once."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from ml_collections import ConfigDict

from gen_jax import families, parallel
from gen_jax.data.sources import Dataset, Examples
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import judges
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.nn import inception

# Pictures that are drawn, or read, at once: memory stays bounded whatever their number.
DRAW_SIZE = 1_000
# The seed of all samples that are scored, and of the choice of training pictures.
SEED = 0


@dataclasses.dataclass(frozen=True)
class FeatureNet:
    """A classifier that is given pictures as they are. The name tells two of them apart.

    Attributes:
      name: with the hash of the weights, as "mnist-cnn@1a2b3c4d".
      module: from images in [-1, 1] to logits and features.
      params: its parameters.
      batch_size: pictures at once. So few that what a layer holds of them fits a CPU's cache: 500
        take 2.5 times as long each.
    """

    name: str
    module: nn.Module
    params: dict = dataclasses.field(compare=False)
    batch_size: int = 50

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures uint8 [N, H, W, C] -> logits [N, classes] and features [N, D], float32."""
        apply, params = _compiled(self.module), parallel.replicated(self.params, local=True)
        parts = []
        for start in range(0, len(pictures), self.batch_size):
            part = pictures[start : start + self.batch_size]
            fill = self.batch_size - len(part)
            full = np.concatenate([part, part[:1].repeat(fill, 0)])
            outputs = apply(params, {"pictures": full})
            parts.append([np.asarray(x[: len(part)], np.float32) for x in outputs])
        logits, features = (np.concatenate(xs) for xs in zip(*parts, strict=True))
        return logits, features


@functools.lru_cache(maxsize=4)
def _compiled(module: nn.Module) -> Callable:
    def run(params, batch):
        x = judges.center(batch["pictures"])
        if isinstance(module, inception.InceptionV3):
            x = inception.resize(x)
        return module.apply({"params": params}, x)

    return parallel.compile_eval(run)


def load(settings: ConfigDict, dataset: Dataset) -> FeatureNet:
    """The network that scores, from the `eval` section of a config.

    `settings.judge` is the name or the path of a judge, "" for the dataset's own, or
    "inception" for InceptionV3 with the weights of `settings.inception_weights`.

    Raises:
      UserError: if there is none, or if it does not read the dataset's pictures.
    """
    if settings.judge == "inception":
        return _load_inception(settings.inception_weights, dataset)
    name = settings.judge or dataset.name
    module, params, metadata, digest = judges.load(name)
    if difference(module, params, dataset.spec.shape):
        raise UserError(
            f"judge {name} was trained on {metadata['dataset']} and does not read pictures of "
            f"{_size(dataset)}; choose another by --config.eval.judge"
        )
    return FeatureNet(f"{Path(name).stem}-cnn@{digest}", module, params)


def _load_inception(weights: str, dataset: Dataset) -> FeatureNet:
    form = (
        "a safetensors file of the Flax parameters of gen_jax/nn/inception.py, keys joined by '/'"
    )
    if not weights or not Path(weights).is_file():
        problem = f"there is no file {weights}" if weights else "it has no weights of its own"
        raise UserError(
            f"judge inception: {problem}; set --config.eval.inception_weights to {form}"
        )
    if dataset.spec.shape[-1] not in (1, 3):
        raise UserError(
            f"judge inception reads pictures of 1 or 3 channels, and {dataset.name} has "
            f"{_size(dataset)}; choose another by --config.eval.judge"
        )
    module = inception.InceptionV3()
    params, _, digest = judges.read(Path(weights))
    wrong = difference(module, params, (inception.SIZE, inception.SIZE, 3))
    if wrong:
        raise UserError(f"{weights} does not fit at {wrong}; it must be {form}")
    # A picture takes 30 MB of activations, so few at once.
    return FeatureNet(f"inception@{digest}", module, params, batch_size=32)


def difference(module: nn.Module, params: dict, shape: tuple[int, ...]) -> str | None:
    """The first parameter that is not what the module needs for images of that shape."""
    image = jnp.zeros((1, *shape))
    needed = jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    needed, given = (
        {key: leaf.shape for key, leaf in traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (needed, params)
    )
    wrong = (key for key in needed | given if needed.get(key) != given.get(key))
    return next(wrong, None)


def check_pictures(family: Family, dataset: Dataset, name: str) -> None:
    """Refuses data that are no pictures, for the metric of that name."""
    if not dataset.spec.is_image:
        raise UserError(
            f"{name}: {dataset.name} has no pictures for a classifier; choose others by "
            "--config.eval.metrics"
        )


def _size(dataset: Dataset) -> str:
    return "x".join(map(str, dataset.spec.shape))


# Pictures


def real_pictures(dataset: Dataset, split: str, limit: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` stored examples of a split (0: all) -> uint8 [N, H, W, C], labels [N]."""
    examples = dataset.splits[split]
    size = min(limit, len(examples)) if limit else len(examples)
    return _pictures(dataset.spec, examples, np.arange(size))


def train_pictures(dataset: Dataset, num: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` stored training examples, chosen by a fixed seed: uint8 [N, H, W, C], labels [N]."""
    examples = dataset.splits["train"]
    index = choose(len(examples), num)
    return _pictures(dataset.spec, examples, index)


def choose(size: int, num: int) -> np.ndarray:
    """`num` of `size` rows, without repeats, by a fixed seed and in a random order."""
    return np.random.Generator(np.random.Philox(key=SEED)).permutation(size)[:num]


def _pictures(spec: DataSpec, examples: Examples, index: np.ndarray):
    parts = []
    for start in range(0, len(index), DRAW_SIZE):
        rows = examples.gather(index[start : start + DRAW_SIZE])
        parts.append((spec.stored_to_uint8(rows["x"]), rows["label"]))
    pictures, labels = (np.concatenate(xs) for xs in zip(*parts, strict=True))
    return pictures, labels


def sample_pictures(
    subject: Subject, dataset: Dataset, num: int, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples of a model -> uint8 [num, H, W, C], and the labels [num] that were asked for.

    The labels are those of as many training examples, of which `train_pictures` has the first:
    a model of p(x|y) is one of p(x) with the p(y) that it was trained on, and a set with as many
    samples of each class would be told from the data by that alone. They are None for a model
    without. The batches are of one size of at most `DRAW_SIZE`; number i has the seed
    1000 * seed + i. The last samples to be drawn are kept, for the next metric.
    """
    return _sample(_same_model(subject), _same(dataset), num, seed)


def sample_labels(subject: Subject, dataset: Dataset, num: int) -> np.ndarray | None:
    """The labels [num] that a model is asked for when its samples are scored, or None."""
    if not families.require(subject.family, base.Sampler, "sample").num_classes:
        return None
    examples = dataset.splits["train"]
    index = np.resize(choose(len(examples), num), num)
    parts = np.array_split(index, -(-num // DRAW_SIZE))
    return np.concatenate([examples.gather(part)["label"] for part in parts])


@dataclasses.dataclass(frozen=True)
class _Same:
    """Keys a cache by the identity of objects. The cache keeps them, so no id is used again."""

    value: object = dataclasses.field(compare=False)
    ids: tuple[int, ...]


def _same(dataset: Dataset) -> _Same:
    return _Same(dataset, (id(dataset),))


def _same_model(subject: Subject) -> _Same:
    parts = (subject.family, subject.spec, *jax.tree.leaves((subject.params, subject.extra)))
    # With the parts themselves, as a tree of parameters may be given other leaves.
    return _Same((subject, parts), tuple(map(id, parts)))


@functools.lru_cache(maxsize=1)
def _sample(model: _Same, data: _Same, num: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    subject, _ = model.value
    if num < 2:
        raise UserError(f"num_samples={num} must be at least 2: --config.eval.num_samples=10000")
    count = -(-num // DRAW_SIZE)
    size = -(-num // count)  # one size, as each is compiled
    labels = sample_labels(subject, data.value, count * size)
    parts = []
    for number in range(count):
        label = None if labels is None else labels[number * size : (number + 1) * size]
        x = subject.sample(size, label, seed=1_000 * seed + number)
        parts.append(subject.spec.to_uint8(x))
    return np.concatenate(parts)[:num], None if labels is None else labels[:num]


# What a network sees in them


class Seen(NamedTuple):
    """Some pictures as a network sees them.

    Attributes:
      logits: [N, classes].
      features: [N, D].
      labels: [N]; None for samples of a model without classes.
    """

    logits: np.ndarray
    features: np.ndarray
    labels: np.ndarray | None


class Sets(NamedTuple):
    """What a metric compares.

    Attributes:
      net: the network.
      real: the split.
      floor: real pictures in the place of the samples: as many of the training set, at most
        half of it, chosen by a fixed seed.
      fake: the samples.
    """

    net: FeatureNet
    real: Seen
    floor: Seen
    fake: Seen


def compare(subject: Subject, dataset: Dataset, split: str, settings: ConfigDict) -> Sets:
    """The sets that a metric compares. Those of the last call are kept, for the next metric."""
    net, num = load(settings, dataset), settings.num_samples
    data = _same(dataset)
    real, floor = _see_stored(net, data, split, settings.num_examples, num)
    return Sets(net, real, floor, _see_samples(net, _same_model(subject), data, num))


@functools.lru_cache(maxsize=1)
def _see_stored(net: FeatureNet, data: _Same, split: str, limit: int, num: int):
    half = min(len(data.value.splits["train"]) // 2, num)
    pairs = (real_pictures(data.value, split, limit), train_pictures(data.value, half))
    return [Seen(*net(pictures), labels) for pictures, labels in pairs]


@functools.lru_cache(maxsize=1)
def _see_samples(net: FeatureNet, model: _Same, data: _Same, num: int) -> Seen:
    pictures, labels = _sample(model, data, num, SEED)
    return Seen(*net(pictures), labels)
