"""How much of its codebook a model with discrete latents uses."""

import numpy as np

from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base


@metric("codebook", needs=(base.Discrete,))
def codebook(context: Context) -> dict[str, Metric]:
    """Usage of the codebook over a whole split.

    `perplexity` is exp of the entropy of the codes' frequencies: the number of codes that, used
    equally often, would have the same entropy. `codes_used` counts those that occur at all.
    """
    codes = per_example(context.subject, context.examples, context.settings, _codes)
    size = context.subject.family.codebook_size
    counts = np.bincount(codes.reshape(-1), minlength=size)
    frequency = counts[counts > 0] / counts.sum()
    figures = {
        "perplexity": float(np.exp(-(frequency * np.log(frequency)).sum())),
        "codes_used": len(frequency),
    }
    spec = {"data": f"{context.split}:{len(codes)}", "codebook": size}
    return {
        name: Metric(value, None, "codes", "exact", len(codes), spec)
        for name, value in figures.items()
    }


def _codes(family, params, extra, batch, keys):
    return family.codes(params, extra, batch)
