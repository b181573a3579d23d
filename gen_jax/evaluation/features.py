"""What a classifier sees in pictures, real and drawn: logits and features, computed once."""

import dataclasses
import functools
import tempfile
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
from gen_jax.data.examples import choose, chosen_rows
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import judges
from gen_jax.evaluation.context import Context, once, once_for_data
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.nn import inception
from gen_jax.settings import Setting

# Pictures that are drawn, or read, at once: memory stays bounded whatever their number.
DRAW_SIZE = 1_000
# The seed of all samples that are scored.
SEED = 0

NUM_SAMPLES = {
    "num_samples": Setting(
        10_000,
        "samples drawn for the metrics that compare them with data",
        minimum=1,
        smoke=64,
        affects="figures",
    )
}
# Of every metric that asks a judge.
SETTINGS = NUM_SAMPLES | {
    "judge": Setting(
        "",
        "whose features are compared; if empty, the data's own; auto: one that is trained on them",
        affects="figures",
    ),
    "inception_weights": Setting("", "a file, for judge inception", affects="figures"),
}


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


def load(settings: ConfigDict, dataset: Dataset, folder: Path | None = None) -> FeatureNet:
    """The network that scores, from the `eval` section of a config.

    `settings.judge` is the name or the path of a judge, "" for the dataset's own, "auto" for one
    that is made for these data (`judges.make`) and kept in `folder`, or "inception" for InceptionV3
    with the weights of `settings.inception_weights`.

    Raises:
      UserError: if there is none, or if it does not read the dataset's pictures.
    """
    if settings.judge == "inception":
        return _load_inception(settings.inception_weights, dataset)
    if settings.judge == "auto":
        module, params, metadata, digest = _make(dataset, folder)
        return FeatureNet(f"{metadata.get('kind', 'auto')}-cnn@{digest}", module, params)
    name = settings.judge or dataset.name
    module, params, metadata, digest = judges.load(name)
    if difference(module, params, dataset.spec.shape):
        raise UserError(
            f"judge {name} was trained on {metadata['dataset']} and does not read pictures of "
            f"{_size(dataset)}; choose another by --config.eval.judge"
        )
    return FeatureNet(f"{Path(name).stem}-cnn@{digest}", module, params)


def _make(dataset: Dataset, folder: Path | None) -> judges.Judge:
    """The judge of data that have none: kept in the folder, so that it is made once."""
    with tempfile.TemporaryDirectory() as temporary:
        path = (folder or Path(temporary)) / "judge.safetensors"
        if not path.exists():
            train = dataset.splits["train"]
            rows = chosen_rows(train, judges.MAX_PICTURES)
            pictures, labels = _pictures(dataset, "train", rows, as_samples=False)
            classes = dataset.spec.num_classes if "label" in train.gather(rows[:1]) else 0
            judges.make(path, dataset.name, pictures, labels, classes)
        return judges.load(str(path))


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


def check_pictures(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    """Refuses data that are no pictures, for the metric of that name."""
    if not dataset.spec.is_image:
        raise UserError(
            f"{name}: {dataset.name} has no pictures for a classifier; choose others by "
            "--config.eval.metrics"
        )


def check_judge(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    """Refuses data that are no pictures or have no judge, for the metric of that name."""
    check_pictures(family, dataset, settings, name)
    if settings.judge != "auto":
        load(settings, dataset)


def _size(dataset: Dataset) -> str:
    return "x".join(map(str, dataset.spec.shape))


# Pictures


@once_for_data
def stored_pictures(context: Context, split: str, limit: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Examples of a split as they are stored -> uint8 [N, H, W, C], labels [N].

    `limit` of them, chosen by a fixed seed; all if it is 0.
    """
    rows = chosen_rows(context.dataset.splits[split], limit)
    return _pictures(context.dataset, split, rows, as_samples=False)


@once_for_data
def perfect_pictures(context: Context, split: str, limit: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The examples of `stored_pictures` as samples of a perfect model would show them.

    They are drawn from the data and become pictures as samples do: where a model is trained on
    pictures of zeros and ones, its samples are black and white, and so are these.
    """
    rows = chosen_rows(context.dataset.splits[split], limit)
    return _pictures(context.dataset, split, rows, as_samples=True)


@once_for_data
def perfect_train_pictures(context: Context, num: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` training examples as `perfect_pictures` shows them, in a random order."""
    rows = choose(len(context.dataset.splits["train"]), num)
    return _pictures(context.dataset, "train", rows, as_samples=True)


def _pictures(
    dataset: Dataset, split: str, index: np.ndarray, as_samples: bool
) -> tuple[np.ndarray, np.ndarray]:
    spec, examples = dataset.spec, dataset.splits[split]
    # Other kinds come back as they were stored: this saves the work.
    drawn = as_samples and spec.kind == "binary"
    parts = []
    for start in range(0, len(index), DRAW_SIZE):
        part = index[start : start + DRAW_SIZE]
        rows = dataset.batch(split, part) if drawn else examples.gather(part)
        pictures = (spec.to_uint8 if drawn else spec.stored_to_uint8)(rows["x"])
        parts.append((pictures, rows.get("label", np.zeros(len(part), np.int32))))
    pictures, labels = (np.concatenate(xs) for xs in zip(*parts, strict=True))
    return pictures, labels


@once
def sample_pictures(context: Context, num: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples of a model -> uint8 [num, H, W, C], and the labels [num] that were asked for.

    They are drawn in blocks of `DRAW_SIZE`: block i has the seed 1000 * `SEED` + i. What the model
    is given is that of `sample_condition`. The labels are None for a model without.
    """
    if num < 2:
        raise UserError(f"num_samples={num} must be at least 2: --config.eval.num_samples=10000")
    subject, condition = context.subject, sample_condition(context, num)
    parts = []
    for number, start in enumerate(range(0, num, DRAW_SIZE)):
        own = {name: array[start : start + DRAW_SIZE] for name, array in condition.items()}
        size = min(DRAW_SIZE, num - start)
        x = subject.sample(size, own, seed=1_000 * SEED + number)
        parts.append(subject.spec.to_uint8(x))
    return np.concatenate(parts), condition.get("label")


def sample_condition(context: Context, num: int) -> dict[str, np.ndarray]:
    """What a model is given when its samples are scored: arrays [num, ...] by name.

    They are those of as many training examples, of which `perfect_train_pictures` has the first: a
    model of p(x|y) is one of p(x) with the p(y) that it was trained on, and a set with as many
    samples of each class would be told from the data by that alone.
    """
    families.require(context.subject.family, "sample", base.Sampler)
    names = context.subject.given
    if not names:
        return {}
    index = np.resize(choose(len(context.dataset.splits["train"]), num), num)
    parts = np.array_split(index, -(-num // DRAW_SIZE))
    batches = [context.dataset.batch("train", part) for part in parts]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


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
      real: the split, as it is stored.
      perfect: the split, as samples of a perfect model would show it.
      floor: training pictures in the place of the samples, shown likewise: as many, at most half
        of the set, chosen by a fixed seed.
      fake: the samples.
    """

    net: FeatureNet
    real: Seen
    perfect: Seen
    floor: Seen
    fake: Seen


@once
def compare(context: Context) -> Sets:
    """The sets that a metric compares."""
    pictures, labels = sample_pictures(context, context.settings.num_samples)
    net = judge(context)
    return Sets(net, *_see_data(context), Seen(*net(pictures), labels))


@once_for_data
def judge(context: Context) -> FeatureNet:
    """The network that scores: see `load`."""
    return load(context.settings, context.dataset, context.folder)


@once_for_data
def _see_data(context: Context) -> tuple[Seen, Seen, Seen]:
    """The split, as it is and as samples would show it, and its floor."""
    settings, net = context.settings, judge(context)
    half = min(len(context.dataset.splits["train"]) // 2, settings.num_samples)
    shown = (context.split, settings.num_examples)
    stored, perfect = stored_pictures(context, *shown), perfect_pictures(context, *shown)
    floor, labels = perfect_train_pictures(context, half)
    real = Seen(*net(stored[0]), stored[1])
    same = np.array_equal(stored[0], perfect[0])
    return real, real if same else Seen(*net(perfect[0]), perfect[1]), Seen(*net(floor), labels)
