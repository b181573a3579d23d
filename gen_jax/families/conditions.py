"""What models are given of an example: its label, vectors, standardised, or a part of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch
from gen_jax.errors import UserError

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


def one_hot(label: jax.Array, num_classes: int) -> jax.Array:
    """Numbers of classes, int [...], as [..., num_classes], of which one is 1.

    Shares of classes, float [..., num_classes], are taken as they are: halves of two classes are
    half way between them.
    """
    if jnp.issubdtype(label.dtype, jnp.floating):
        return label
    return jax.nn.one_hot(label, num_classes)


def labels(
    batch: Batch, num_classes: int, keys: jax.Array | None = None, dropout: float = 0.0
) -> jax.Array:
    """The labels of a batch as [B, num_classes], one of which is 1.

    With `keys` [B] a share `dropout` of them is withheld, which is all 0: what guidance asks for.
    """
    context = one_hot(batch["label"], num_classes)
    if keys is not None and dropout:
        kept = keys_lib.uniform(keys_lib.named(keys, "label")) >= dropout
        context = context * kept[:, None]
    return context


def does_without_label(family: Any) -> bool:
    """Whether it is given the label alone, and training withheld that of some examples.

    What is asked of it without a label is asked with one past the last, of which `labels` makes
    what training showed of those.
    """
    given = tuple(getattr(family, "given", ()))
    return given == ("label",) and getattr(family, "label_dropout", 0) > 0


def check_mask(mask: jax.Array, x: jax.Array) -> None:
    """Refuses a mask of what is known that has not the shape of x.

    Raises:
      UserError: naming both shapes.
    """
    if jnp.shape(mask) != jnp.shape(x):
        raise UserError(
            f"mask has shape {list(jnp.shape(mask))}; it must be that of x, "
            f"{list(jnp.shape(x))}, 1 where x is known"
        )


def check_guidance(guidance: float, given: Sequence[str], dropout: float) -> None:
    """Refuses guidance of a model that has not learned to do without its label.

    Raises:
      UserError: saying how it would.
    """
    if guidance != 1 and ("label" not in given or not dropout):
        raise UserError(
            "guidance needs a class-conditional model that was trained with "
            "--config.model.label_dropout=0.1 or so"
        )


def guided(
    ask: Callable,
    context: jax.Array | None,
    guidance: float,
    within: Callable[[jax.Array], jax.Array] | None = None,
) -> Callable:
    """`(z, level) -> ask(z, level, context)`, guided towards the condition.

    With guidance g it is g times what is said given the condition and 1 - g times what is said
    given nothing (Ho and Salimans 2022, arXiv 2207.12598). Where there are more z than conditions,
    each condition is that of as many in a row.

    Args:
      ask: of the network.
      context: the condition, [B, N], or None.
      guidance: g; 1 is none.
      within: of levels [B], where there is guidance, bool [B]; everywhere if left out.
    """

    def said(z, level):
        own = None if context is None else jnp.repeat(context, len(z) // len(context), 0)
        value = ask(z, level, own)
        if guidance != 1:
            weight = guidance
            if within is not None:
                weight = jnp.where(within(level), guidance, 1.0)
                weight = weight.reshape(-1, *[1] * (value.ndim - 1))
            value = weight * value + (1 - weight) * ask(z, level, jnp.zeros_like(own))
        return value

    return said


def _joined(batch: Batch, names: Sequence[str]) -> jax.Array:
    return jnp.concatenate([batch[name] for name in names], 1)
