"""Figures of sequences: nats a character, bits a sample of sound, nats a frame of music.

Each element that counts does so once, given the elements before it in its window; beside each
figure is that of a model that only counts, on the same elements with the same context.
"""

import math
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import chosen_rows
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import counting
from gen_jax.evaluation.context import Context, once_for_data
from gen_jax.evaluation.likelihood import per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.settings import Setting

NGRAM = {
    "ngram_context": Setting(
        5,
        "characters before, of the n-gram beside nats_per_character",
        maximum=10,
        smoke=2,
        affects="figures",
    ),
}


def _only(*media: str) -> Callable:
    """Refuses data of other media."""

    def check(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
        if dataset.spec.medium not in media:
            what = " or ".join(media)
            raise UserError(f"{name} is of {what}; {dataset.name} is not: leave it out")

    return check


@metric(
    "nats_per_character",
    needs=(base.ElementDensity,),
    also=_only("text", "lines"),
    settings=NGRAM,
    lower_is_better=("nats_per_character", "ngram_nats_per_character"),
)
def nats_per_character(context: Context) -> dict[str, Metric]:
    """-log p of a character, given those before it, and that of an n-gram.

    The n-gram is an interpolated Kneser-Ney model of the training split (`counting.KneserNey`).
    """
    reach = context.settings.ngram_context
    counted = _ngram(context, reach)
    return {
        "nats_per_character": _of_model(context, "nats/character"),
        "ngram_nats_per_character": _mean(
            context, counted, "nats/character", {"smoothing": "kneser-ney", "characters": reach}
        ),
    }


@metric(
    "bits_per_sample",
    needs=(base.ElementDensity,),
    also=_only("sound"),
    lower_is_better=("bits_per_sample", "unigram_bits_per_sample", "bigram_bits_per_sample"),
)
def bits_per_sample(context: Context) -> dict[str, Metric]:
    """-log2 p of a sample of sound, given those before it, and that of a unigram and a bigram."""
    found = {
        "bits_per_sample": _of_model(context, "nats"),
        "unigram_bits_per_sample": _mean(context, _ngram(context, 0), "nats"),
        "bigram_bits_per_sample": _mean(context, _ngram(context, 1), "nats"),
    }
    return {name: figure.scaled(1 / math.log(2), "bits/sample") for name, figure in found.items()}


@metric(
    "nats_per_frame",
    needs=(base.ElementDensity,),
    also=_only("music"),
    lower_is_better=("nats_per_frame", "markov_nats_per_frame", "marginal_nats_per_frame"),
)
def nats_per_frame(context: Context) -> dict[str, Metric]:
    """-log p of a frame of all keys, given those before it, pooled over the frames of all pieces.

    The first frame of a piece is no part of it, as in Boulanger-Lewandowski et al. 2012. Beside it
    are keys that are independent of all, and keys that depend on themselves a frame before.
    """
    return {
        "nats_per_frame": _of_model(context, "nats/frame"),
        "markov_nats_per_frame": _mean(context, _keys(context, 1), "nats/frame"),
        "marginal_nats_per_frame": _mean(context, _keys(context, 0), "nats/frame"),
    }


def _element_log_probs(family, params, extra, batch, keys):
    return family.element_log_probs(params, extra, batch)


def _of_model(context: Context, unit: str) -> Metric:
    terms = per_example(context.subject, context.examples, context.settings, _element_log_probs)
    given = "+".join(context.subject.given)
    return _mean(context, terms, unit, {"given": given} if given else {})


def _rows(context: Context) -> dict[str, np.ndarray]:
    """The windows that are looked at."""
    limit = context.settings.num_examples
    return context.examples.gather(chosen_rows(context.examples, limit))


def _scored(context: Context) -> np.ndarray:
    """Which elements count, [N, T]."""
    rows = _rows(context)
    number = np.arange(rows["x"].shape[1])
    return (number >= rows["scored_from"][:, None]) & (number < rows["length"][:, None])


def _mean(context: Context, terms: np.ndarray, unit: str, more: dict | None = None) -> Metric:
    """-log p of an element, over all that count; windows are what its error is over."""
    scored = _scored(context)
    if not scored.any():
        raise UserError(f"the {context.split} split has nothing that counts; give longer pieces")
    sums, counts = -np.where(scored, np.float64(terms), 0).sum(1), scored.sum(1)
    value, total = sums.sum() / counts.sum(), counts.sum()
    # The error of a ratio of sums, to first order (Cochran 1977, equation 6.9).
    n = len(sums)
    residual = sums - value * counts
    stderr = math.sqrt(n / max(n - 1, 1) * np.square(residual).sum()) / total if n > 1 else None
    spec = {
        "data": f"{context.split}:{total}",
        "window": scored.shape[1],
        "context": context.dataset.context,
        **(more or {}),
    }
    return Metric(float(value), stderr, unit, "exact", int(total), spec)


@once_for_data
def _ngram(context: Context, reach: int) -> np.ndarray:
    """log p of each element by an n-gram of the training split, [N, T]."""
    spec, train = context.dataset.spec, context.dataset.splits["train"]
    model = counting.KneserNey(counting.pieces(train), spec.num_values, reach)
    rows = _rows(context)
    return model.log_prob(rows["x"].astype(np.int64), rows["length"])


@once_for_data
def _keys(context: Context, reach: int) -> np.ndarray:
    """log p of each frame by keys that depend on themselves so many frames before, [N, T]."""
    pieces = counting.pieces(context.dataset.splits["train"])
    return counting.key_log_probs(pieces, _rows(context)["x"], reach)
