"""How likely the rest of a picture is, given the part of it that is known."""

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import masks
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import KINDS, describe_data, per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families.base import Family, RestDensity
from gen_jax.settings import Setting

SETTINGS = {
    "completions": Setting(
        ("one_quadrant", "two_quadrants", "three_quadrants"),
        "what is known of a picture, whose rest is scored",
        choices=tuple(masks.KNOWN),
        affects="figures",
    ),
}


def _is_of_pictures(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if not dataset.spec.is_image:
        raise UserError(f"{name} is of pictures of which a part is known, and these are none")


@metric(
    "conditional_nll",
    needs=(RestDensity,),
    also=_is_of_pictures,
    settings=SETTINGS,
    lower_is_better=("conditional_nll",),
)
def conditional_nll(context: Context) -> dict[str, Metric]:
    """Negative log-likelihood of the rest of a picture, in nats, given a part of it.

    For each of `eval.completions` a figure `conditional_nll@task=MASK`; the three quadrants are
    those of Sohn et al. 2015, section 5.2. Of the stored integers, as `nll` is.
    """
    figures = {}
    for task in context.settings.completions:
        found = per_example(
            context.subject, context.examples, context.settings, _log_prob_of_rest, task
        )
        known = masks.KNOWN[task](context.subject.spec.shape[:2])
        volume = context.subject.spec.log_volume * (1 - known.mean())
        spec = describe_data(context.subject, context.split, found.value)
        nats = -(found.value + volume)
        figures[f"conditional_nll@task={task}"] = Metric.mean(nats, "nats", KINDS[found.kind], spec)
    return figures


def _log_prob_of_rest(family, params, extra, batch, keys, task):
    shape = family.spec.shape
    known = np.broadcast_to(masks.KNOWN[task](shape[:2])[..., None], shape)
    return family.log_prob_of_rest(params, extra, batch, known, keys)
