"""What models are given of an example besides its label: vectors, standardised."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from gen_jax.data.spec import Batch

Scales = Mapping[str, jax.Array]


def vector_names(given: Sequence[str]) -> tuple[str, ...]:
    """Of what a model is given (`base.Sampler.given`), all but the label."""
    return tuple(name for name in given if name != "label")


def scales(batch: Batch, names: Sequence[str]) -> Scales:
    """Mean and standard deviation of each number of the vectors of a batch."""
    vectors = _joined(batch, names)
    return {"mean": vectors.mean(0), "std": vectors.std(0) + 1e-6}


def standardized(batch: Batch, names: Sequence[str], scales: Scales) -> jax.Array:
    """The vectors of a batch side by side, [B, N], in units of `scales`."""
    return (_joined(batch, names) - scales["mean"]) / scales["std"]


def _joined(batch: Batch, names: Sequence[str]) -> jax.Array:
    return jnp.concatenate([batch[name] for name in names], 1)
