"""Bounds on the likelihood of diffusions: by the number of steps, by parts, and by an ODE."""

import jax.numpy as jnp
import numpy as np

from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import describe_data, per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base
from gen_jax.settings import Setting

STEPS = {
    "bound_steps": Setting(
        (10, 25, 50, 100),
        "of the bounds of `stepped_bound`",
        minimum=1,
        element=10,
        smoke=(2,),
        affects="figures",
    )
}
_OF_BITS = tuple(f"{name}_bits_per_dim" for name in ("prior", "reconstruction", "diffusion"))


@metric("stepped_bound", needs=(base.SteppedBound,), settings=STEPS)
def stepped_bound(context: Context) -> dict[str, Metric]:
    """`nll@steps=T`: the bound on -log p(x) by T steps, in nats an example, for several T.

    Of a sequence also `nats_per_element@steps=T`.
    """
    subject, figures = context.subject, {}
    for steps in context.settings.bound_steps:
        values, counts = per_example(subject, context.examples, context.settings, _bound, steps)
        spec = describe_data(subject, context.split, values)
        figure = Metric.mean(-values, "nats", "upper_bound", spec)
        figures[f"nll@steps={steps}"] = figure
        if subject.spec.medium:
            each = figure.scaled(1 / counts.mean(), "nats/element")
            figures[f"nats_per_element@steps={steps}"] = each
    return figures


def _bound(family, params, extra, batch, keys, steps):
    """The bound, and how many elements it is of: [B] each."""
    elements = jnp.full(len(keys), family.spec.shape[0])
    elements = batch.get("length", elements)
    return family.bound(params, extra, batch, keys, steps), elements


@metric("bound_parts", needs=(base.BoundInParts,), lower_is_better=_OF_BITS)
def bound_parts(context: Context) -> dict[str, Metric]:
    """What a bound is made of, in bits a dimension: `diffusion_bits_per_dim` and so on."""
    subject = context.subject
    parts = per_example(subject, context.examples, context.settings, _parts)
    spec = describe_data(subject, context.split, next(iter(parts.values())))
    return {
        f"{name}_bits_per_dim": Metric.mean(
            np.asarray(subject.spec.bits_per_dim(values)), "bits/dim", "estimate", spec
        )
        for name, values in parts.items()
    }


def _parts(family, params, extra, batch, keys):
    return family.bound_parts(params, extra, batch, keys)


@metric("ode_bits", needs=(base.OdeDensity,), lower_is_better=("ode_bits_per_dim",))
def ode_bits(context: Context) -> dict[str, Metric]:
    """`ode_bits_per_dim`: -log p(x) by the probability-flow ODE of data with uniform noise."""
    subject = context.subject
    values = per_example(subject, context.examples, context.settings, _ode)
    spec = {**describe_data(subject, context.split, values), "noise": "uniform"}
    bits = np.asarray(subject.spec.bits_per_dim(-values))
    return {"ode_bits_per_dim": Metric.mean(bits, "bits/dim", "estimate", spec)}


def _ode(family, params, extra, batch, keys):
    return family.ode_log_prob(params, extra, batch, keys)
