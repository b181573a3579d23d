"""What the discriminator of a GAN tells of the training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.data.spec import Batch
from gen_jax.evaluation.context import Context, once_for_data
from gen_jax.evaluation.features import NUM_SAMPLES
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base


@metric("discriminator", needs=(base.Adversary, base.Sampler), settings=NUM_SAMPLES)
def discriminator(context: Context) -> dict[str, Metric]:
    """Mean logits of training, held-out and generated examples, and r_v.

    r_v = (E D(train) - E D(held out)) / (E D(train) - E D(generated)): 0 where the discriminator
    cannot tell held-out data from its training data, 1 where it takes them for generated
    (Karras et al. 2020, arXiv 2006.06676, equation 1).
    """
    subject, train = context.subject, context.dataset.splits["train"]
    num = min(len(context.examples), len(train), context.settings.num_samples)
    batches = {
        "train": _batch(context, "train", num),
        "held_out": _batch(context, context.split, num),
    }
    condition = {name: batches["held_out"][name] for name in subject.given}
    x = jnp.asarray(subject.sample(num, condition))
    batches["fake"] = batches["held_out"] | {"x": x}
    spec, figures = {"data": f"{context.split}:{num}"}, {}
    for name, batch in batches.items():
        logits = np.asarray(_discriminate(subject.family, subject.params, subject.extra, batch))
        figures[f"logits_{name}"] = Metric.mean(logits, "logits", "exact", spec)
    train, held_out, fake = (figures[f"logits_{name}"].value for name in batches)
    # Where the players are equal there is nothing to compare.
    value = (train - held_out) / (train - fake) if train > fake else 0.0
    figures["overfitting"] = Metric(value, None, "ratio", "estimate", num, spec)
    return figures


@functools.partial(jax.jit, static_argnums=0)
def _discriminate(family, params, extra, batch):
    return family.discriminate(params, extra, batch)


@once_for_data
def _batch(context: Context, split: str, num: int) -> Batch:
    """`num` examples, evenly over a split."""
    index = np.linspace(0, len(context.dataset.splits[split]) - 1, num).astype(np.int32)
    return context.dataset.batch(split, index)
