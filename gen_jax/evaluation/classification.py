"""What a classifier is measured by."""

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.sources import Dataset
from gen_jax.evaluation.likelihood import per_example
from gen_jax.evaluation.metric import Metric
from gen_jax.evaluation.needs import needs
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base


@needs(base.Discriminative)
def accuracy(
    subject: Subject, dataset: Dataset, split: str, settings: ConfigDict
) -> dict[str, Metric]:
    """Fraction of a split whose most probable label is the right one."""
    examples = dataset.splits[split]
    right = per_example(subject, examples, settings, _is_right)
    spec = f"accuracy[data={split}:{len(right)}]"
    return {"accuracy": Metric.mean(np.asarray(right), "fraction", "exact", spec)}


def _is_right(family, params, extra, batch, keys):
    return family.classify(params, extra, batch).argmax(-1) == batch["label"]
