"""What classifiers are measured by, and densities that are used as such."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import UserError
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


@metric("bayes_accuracy", needs=(base.Density, base.Sampler))
def bayes_accuracy(context: Context) -> dict[str, Metric]:
    """Fraction of a split whose label is the one that a density given the label finds likeliest.

    By Bayes' rule, p(y|x) = p(x|y) p(y) / p(x), with labels of equal probability.

    Raises:
      UserError: if the model is not given the label, and it alone.
    """
    family = context.subject.family
    if tuple(family.given) != ("label",):
        raise UserError("bayes_accuracy needs a model that is given the label alone")
    right = per_example(context.subject, context.examples, context.settings, _is_likeliest)
    spec = {"data": f"{context.split}:{len(right)}"}
    return {"bayes_accuracy": Metric.mean(np.asarray(right), "fraction", "exact", spec)}


def _is_right(family, params, extra, batch, keys):
    return family.classify(params, extra, batch).argmax(-1) == batch["label"]


def _is_likeliest(family, params, extra, batch, keys):
    def of_label(label):
        other = batch | {"label": jnp.full_like(batch["label"], label)}
        return family.log_prob(params, extra, other, keys).value

    each = jax.lax.map(of_label, jnp.arange(family.spec.num_classes))
    return each.argmax(0) == batch["label"]
