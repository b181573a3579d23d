"""Densities in the plane beside the exact one, where it is known."""

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import chosen_rows
from gen_jax.data.readers import synthetic
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import describe_data, log_prob
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base
from gen_jax.families.base import Family


def _known(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if dataset.spec.shape != (2,) or synthetic.log_density(dataset.name, np.zeros((1, 2))) is None:
        raise UserError(
            f"{name} needs data whose density is known: gaussians, checkerboard, ring or grid; "
            f"{dataset.name} is none"
        )


@metric("excess_nll", needs=(base.Density,), also=_known, lower_is_better=("excess_nll",))
def excess_nll(context: Context) -> dict[str, Metric]:
    """E[log p(x) - log q(x)] over data x of the exact density p: KL(p || q), in nats.

    It is 0 for the density itself. Its error is that of the difference, which is small.
    """
    found = log_prob(context.subject, context.examples, context.settings, 1)
    rows = chosen_rows(context.examples, context.settings.num_examples)
    exact = synthetic.log_density(context.dataset.name, context.examples.gather(rows)["x"])
    spec = describe_data(context.subject, context.split, found.value)
    return {"excess_nll": Metric.mean(exact - found.value, "nats", found.kind, spec)}
