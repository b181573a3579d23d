"""What a classifier is measured by."""

import numpy as np

from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base


@metric("accuracy", needs=(base.Discriminative,))
def accuracy(context: Context) -> dict[str, Metric]:
    """Fraction of a split whose most probable label is the right one."""
    right = per_example(context.subject, context.examples, context.settings, _is_right)
    spec = {"data": f"{context.split}:{len(right)}"}
    return {"accuracy": Metric.mean(np.asarray(right), "fraction", "exact", spec)}


def _is_right(family, params, extra, batch, keys):
    return family.classify(params, extra, batch).argmax(-1) == batch["label"]
