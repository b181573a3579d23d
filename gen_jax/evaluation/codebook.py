"""How much of its codebook a model with discrete latents uses."""

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.sources import Dataset
from gen_jax.evaluation.likelihood import per_example
from gen_jax.evaluation.metric import Metric
from gen_jax.evaluation.needs import needs
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base


@needs(base.Discrete)
def codebook(
    subject: Subject, dataset: Dataset, split: str, settings: ConfigDict
) -> dict[str, Metric]:
    """Usage of the codebook over a whole split.

    `perplexity` is exp of the entropy of the codes' frequencies: the number of codes that, used
    equally often, would have the same entropy. `codes_used` counts those that occur at all.
    """
    codes = per_example(subject, dataset.splits[split], settings, _codes)
    counts = np.bincount(codes.reshape(-1), minlength=subject.family.codebook_size)
    frequency = counts[counts > 0] / counts.sum()
    figures = {
        "perplexity": float(np.exp(-(frequency * np.log(frequency)).sum())),
        "codes_used": len(frequency),
    }
    what = f"data={split}:{len(codes)}, codebook={subject.family.codebook_size}"
    return {
        name: Metric(value, None, "codes", "exact", len(codes), f"{name}[{what}]")
        for name, value in figures.items()
    }


def _codes(family, params, extra, batch, keys):
    return family.codes(params, extra, batch)
