"""One evaluator for every family. Metrics by name, each a function that yields figures."""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import (
    ais,
    amortization,
    anomaly,
    classification,
    codebook,
    collapse,
    discriminator,
    fidelity,
    likelihood,
    needs,
    rate_distortion,
)
from gen_jax.evaluation.metric import Metric
from gen_jax.evaluation.subject import Subject
from gen_jax.families.base import Family

# name -> `metric(subject, dataset, split, settings) -> {name: Metric}`, where `settings` is the
# `eval` section of a config. A metric may yield several figures.
METRICS = {
    "elbo": likelihood.elbo,
    "nll": likelihood.nll,
    "active_units": likelihood.active_units,
    "ais": ais.ais,
    "bdmc": ais.bdmc,
    "rate_distortion": rate_distortion.rate_distortion,
    "amortization": amortization.amortization,
    "mse": likelihood.mse,
    "auroc": anomaly.auroc,
    "codebook": codebook.codebook,
    "accuracy": classification.accuracy,
    "discriminator": discriminator.discriminator,
    "fid": fidelity.fid,
    "kid": fidelity.kid,
    "inception_score": fidelity.inception_scores,
    "prdc": fidelity.prdc_metrics,
    "intra_fid": fidelity.intra_fid,
    "label_accuracy": fidelity.label_accuracy,
    "cas": fidelity.cas,
    "modes": collapse.modes,
    "ndb": collapse.ndb,
    "birthday": collapse.birthday,
    "memorization": collapse.memorization,
}


def check_names(names: Sequence[str]) -> None:
    """Refuses metrics that do not exist, before any is computed."""
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        several = [part.strip() for part in unknown[0].split(",")]
        if len(several) > 1:
            raise UserError(
                f"unknown metric {unknown[0]!r}; several are written as {tuple(several)}"
            )
        raise UserError(f"unknown metric {unknown[0]!r}; valid are: {', '.join(METRICS)}")


def check(family: Family, dataset: Dataset, names: Sequence[str], key: str = "") -> None:
    """Refuses metrics that need what a family or the data lack, before any is computed.

    Raises:
      UserError: naming the config key that asks for it, if given, and what has it.
    """
    for name in names:
        needs.check(METRICS[name], family, dataset, f"--config.{key}: {name}" if key else name)


def evaluate(
    subject: Subject, dataset: Dataset, split: str, names: Sequence[str], settings: ConfigDict
) -> dict[str, Metric]:
    """The named metrics of a model on a split; `settings` is the `eval` section of a config.

    Raises:
      UserError: for an unknown name, or where a metric lacks what it needs.
    """
    check_names(names)
    check(subject.family, dataset, names)
    figures = {}
    for name in names:
        figures |= METRICS[name](subject, dataset, split, settings)
    return figures


def to_json(figures: dict[str, Metric]) -> dict[str, dict]:
    """As `evaluation.json` holds them."""
    rows = {name: dataclasses.asdict(metric) for name, metric in figures.items()}
    return {n: {k: v for k, v in row.items() if k != "each" or v} for n, row in rows.items()}
