"""How well a model sees what is behind noise."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import describe_data, per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base

# Standard deviations of the noise, in the units that networks read.
LEVELS = (0.1, 0.2, 0.5, 1.0, 2.0)


@metric("denoising_mse", needs=(base.Denoiser,), lower_is_better=("denoising_mse",))
def denoising_mse(context: Context) -> dict[str, Metric]:
    """Squared error a dimension of the data behind noise of five levels, in centred units.

    The noise has standard deviations from .1 to 2, one fixed draw of each for each example. It
    costs five network calls, and so is what training is watched by.
    """
    subject = context.subject
    values = per_example(subject, context.examples, context.settings, _squared_error)
    spec = {**describe_data(subject, context.split, values), "levels": len(LEVELS)}
    return {"denoising_mse": Metric.mean(values, "squared", "exact", spec)}


def _squared_error(family, params, extra, batch, keys):
    errors = squared_errors(family, params, extra, batch, keys, LEVELS)
    return errors.reshape(*errors.shape[:2], -1).mean((0, 2))


def squared_errors(family, params, extra, batch, keys, levels: Sequence[float]):
    """Of what is seen behind a draw of noise of each level, [levels, B, ...], in centred units."""
    x = family.spec.center(batch["x"])

    def at(draw):
        number, level = draw
        noise = keys_lib.normal(keys_lib.fold(keys, number), x.shape[1:])
        seen = family.denoise(params, extra, x + level * noise, jnp.full(len(x), level), batch)
        return jnp.square(seen - x)

    # One after another, so that the network is compiled once.
    return jax.lax.map(at, (jnp.arange(len(levels)), jnp.asarray(levels)))
