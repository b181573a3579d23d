"""What the discriminator of a GAN tells of the training."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.sources import Dataset
from gen_jax.data.spec import fixed_keys
from gen_jax.evaluation.metric import Metric
from gen_jax.evaluation.needs import needs
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base


@needs(base.Adversary, base.Sampler)
def discriminator(
    subject: Subject, dataset: Dataset, split: str, settings: ConfigDict
) -> dict[str, Metric]:
    """Mean logits of training, held-out and generated examples, and r_v.

    r_v = (E D(train) - E D(held out)) / (E D(train) - E D(generated)): 0 where the discriminator
    cannot tell held-out data from its training data, 1 where it takes them for generated
    (Karras et al. 2020, arXiv 2006.06676, equation 1).
    """
    num = min(len(dataset.splits[split]), len(dataset.splits["train"]), settings.num_samples)
    batches = {
        "train": _batch(dataset, "train", num),
        "held_out": _batch(dataset, split, num),
    }
    label = batches["held_out"]["label"]
    x = jnp.asarray(subject.sample(num, np.asarray(label) if subject.family.num_classes else None))
    batches["fake"] = {"x": x, "label": label}
    discriminate = jax.jit(subject.family.discriminate)
    figures = {}
    for name, batch in batches.items():
        logits = np.asarray(discriminate(subject.params, subject.extra, batch))
        spec = f"logits_{name}[data={split}:{num}]"
        figures[f"logits_{name}"] = Metric.mean(logits, "logits", "exact", spec)
    train, held_out, fake = (figures[f"logits_{name}"].value for name in batches)
    # Where the players are equal there is nothing to compare.
    value = (train - held_out) / (train - fake) if train > fake else 0.0
    spec = f"overfitting[data={split}:{num}]"
    figures["overfitting"] = Metric(value, None, "ratio", "estimate", num, spec)
    return figures


def _batch(dataset: Dataset, split: str, num: int) -> base.Batch:
    index = np.linspace(0, len(dataset.splits[split]) - 1, num).astype(np.int32)
    stored = dataset.splits[split].gather(index)
    x = dataset.spec.prepare(jnp.asarray(stored["x"]), fixed_keys(split, index))
    return {"x": x, "label": jnp.asarray(stored["label"])}
