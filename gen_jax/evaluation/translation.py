"""How well pictures are made of other pictures."""

import numpy as np
from ml_collections import ConfigDict

from gen_jax import families
from gen_jax.data.examples import choose, chosen_rows
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import SOURCE
from gen_jax.errors import UserError
from gen_jax.evaluation import judges
from gen_jax.evaluation.context import Context, once
from gen_jax.evaluation.features import DRAW_SIZE, NUM_SAMPLES, FeatureNet
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.restoration import psnr
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.nn.classifier import ConvClassifier
from gen_jax.settings import Setting

CLASSIFIER = NUM_SAMPLES | {
    "classifier_steps": Setting(
        3_000, "of each classifier of target_accuracy", minimum=1, smoke=5, affects="figures"
    )
}


def _of_pairs(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if SOURCE not in dataset.spec.given or not dataset.spec.is_image:
        raise UserError(
            f"{name} is of pictures with another each; {dataset.name} has none: use "
            "--config.data.name=pairs:edges/NAME"
        )


@once
def translations(context: Context) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures that stand for the chosen examples of a split: source, translation and x, uint8."""
    spec, examples = context.subject.spec, context.examples
    rows = chosen_rows(examples, context.settings.num_examples)
    stored = examples.gather(rows)
    source, x = stored[SOURCE], stored["x"]
    made = _translated(context, source)
    return spec.given[SOURCE].stored_to_uint8(source), made, spec.stored_to_uint8(x)


def _translated(context: Context, source: np.ndarray) -> np.ndarray:
    """Translations of stored sources, uint8."""
    parts = []
    for number, start in enumerate(range(0, len(source), DRAW_SIZE)):
        own = np.float32(source[start : start + DRAW_SIZE])
        x = context.subject.sample(len(own), {SOURCE: own}, seed=number)
        parts.append(context.subject.spec.to_uint8(x))
    return np.concatenate(parts)


@metric(
    "translation_error",
    needs=(base.Sampler,),
    also=_of_pairs,
    lower_is_better=("translation_error",),
)
def translation_error(context: Context) -> dict[str, Metric]:
    """Mean absolute difference of translations from x, of pixels from 0 to 1, and their PSNR.

    `source_error` is that of the sources as they are, where they have as many channels. Of pictures
    that do not belong together it says little.
    """
    source, made, x = (np.float64(pictures) / 255 for pictures in translations(context))
    spec = {"data": f"{context.split}:{len(x)}"}

    def error(pictures):
        return np.abs(pictures - x).mean((1, 2, 3))

    figures = {
        "translation_error": Metric.mean(error(made), "fraction", "estimate", spec),
        "translation_psnr": Metric.mean(psnr(made, x), "dB", "exact", spec),
    }
    if source.shape == x.shape:
        figures["source_error"] = Metric.mean(error(source), "fraction", "exact", spec)
    return figures


def _with_labels(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    _of_pairs(family, dataset, settings, name)
    known = dataset.splits["train"].gather(np.arange(1))
    if not {"label", "source_label"} <= {*known}:
        raise UserError(
            f"{name} needs labels of both sets of pictures; use "
            "--config.data.name=unpaired:mnist,usps"
        )


@metric(
    "target_accuracy",
    needs=(base.Sampler,),
    also=_with_labels,
    settings=CLASSIFIER,
)
def target_accuracy(context: Context) -> dict[str, Metric]:
    """Accuracy on x of a classifier that was trained on translated sources and their labels.

    As unsupervised domain adaptation is measured (Russo et al. 2018, SBADA-GAN, arXiv 1705.08824,
    section 4): no label of x is used. `source_only_accuracy` is that of a classifier of sources as
    they are, and `target_only_accuracy` that of one of x. Of a model that goes both ways
    `back_accuracy` is likewise on sources, of a classifier of x made into sources, and so are
    `back_source_only_accuracy` and `back_target_only_accuracy`.
    """
    subject, settings = context.subject, context.settings
    spec, of_source = subject.spec, subject.spec.given[SOURCE]
    train, test = context.dataset.splits["train"], context.examples
    rows = train.gather(choose(len(train), settings.num_samples))
    held_out = test.gather(chosen_rows(test, settings.num_examples))
    x, source = (spec.stored_to_uint8(rows["x"]), of_source.stored_to_uint8(rows[SOURCE]))
    ways = {
        "": (
            _once_each(spec.stored_to_uint8(held_out["x"]), held_out["label"]),
            {
                "target_accuracy": (_translated(context, rows[SOURCE]), rows["source_label"]),
                "source_only_accuracy": (source, rows["source_label"]),
                "target_only_accuracy": (x, rows["label"]),
            },
        )
    }
    if families.has(subject.family, base.TwoWays):
        back = of_source.to_uint8(subject.translate_back(np.float32(rows["x"])))
        ways["back_"] = (
            _once_each(of_source.stored_to_uint8(held_out[SOURCE]), held_out["source_label"]),
            {
                "accuracy": (back, rows["label"]),
                "source_only_accuracy": (x, rows["label"]),
                "target_only_accuracy": (source, rows["source_label"]),
            },
        )
    figures = {}
    for prefix, ((pictures, labels), trained) in ways.items():
        for name, (own, own_labels) in trained.items():
            module = ConvClassifier(int(max(labels.max(), own_labels.max())) + 1)
            params = judges.fit(module, own, own_labels, settings.classifier_steps)
            net = FeatureNet("cnn", module, params)
            right = net(pictures)[0].argmax(-1) == labels
            what = {"data": f"{context.split}:{len(labels)}", "trained": len(own)}
            figures[prefix + name] = Metric.mean(right, "fraction", "estimate", what)
    return figures


def _once_each(pictures: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without repeats: the smaller of two sets goes round."""
    rows = np.unique(pictures.reshape(len(pictures), -1), axis=0, return_index=True)[1]
    return pictures[np.sort(rows)], np.asarray(labels)[np.sort(rows)]
