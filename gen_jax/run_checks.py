"""What users give to a run, checked: a wrong one is told in one line that says what fits."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gen_jax import config as config_lib
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Subject

MAX_NAMES = 20  # of classes, in a message

# Of a class-conditional model: the number or the name of a class, one for all or one for each.
Labels = int | str | Sequence | np.ndarray | None


def whole(name: str, value: int, minimum: int, maximum: int | None = None) -> None:
    is_whole = isinstance(value, int | np.integer)
    if not is_whole or value < minimum or (maximum is not None and value > maximum):
        span = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise UserError(f"{name}={value} must be a whole number {span}")


def pictures(spec: DataSpec, what: str) -> None:
    if not spec.is_image:
        raise UserError(f"{what} is of pictures, and these data are none")


def shape(spec: DataSpec, x: np.ndarray) -> None:
    if x.shape[1:] != spec.shape or not len(x):
        wanted = ", ".join(map(str, ("N", *spec.shape)))
        raise UserError(
            f"x has shape {list(x.shape)}; this run's data are [{wanted}], at least one of them"
        )


def examples(subject: Subject, x: np.ndarray, label: Labels) -> ArrayExamples:
    """What a user gives, checked."""
    x, classes = np.asarray(x), subject.num_classes
    shape(subject.spec, x)
    subject.spec.check(x)
    if label is None and classes:
        raise UserError(f"this model is given the label; give one of each x, 0 to {classes - 1}")
    label = (
        np.zeros(len(x), np.int32)
        if label is None
        else labels(subject.spec, label, len(x), "x", classes)
    )
    return ArrayExamples("given", {"x": x, "label": label})


def labels(spec: DataSpec, label: Labels, num: int, name: str, classes: int) -> np.ndarray:
    """Labels that a user gives with `num` arrays of that name, int32 [num], checked.

    They are of so many classes. A model that is given none, 0, takes them as they are: a batch has
    labels all the same.
    """
    if np.ndim(label) == 0:
        label = [label] * num
    if classes:
        label = [class_number(spec, own) for own in np.asarray(label).reshape(-1).tolist()]
    label = np.asarray(label, np.int32)
    if label.shape != (num,):
        raise UserError(f"label has shape {list(label.shape)}; give one of each {name}, [{num}]")
    return label


def shares(label: np.ndarray, num: int, classes: int) -> np.ndarray:
    """Shares of classes that a user gives with `num` latents, float32 [num, classes], checked."""
    label = np.asarray(label, np.float32)
    if label.shape != (num, classes) or not np.allclose(label.sum(1), 1, atol=1e-3):
        raise UserError(
            f"label has shape {list(label.shape)}; shares of classes are [{num}, {classes}], and "
            "each row sums to 1"
        )
    return label


def class_number(spec: DataSpec, label: int | str) -> int:
    """Of a class that is given by its number or its name; a name that is a number is a name."""
    names = spec.class_names
    if isinstance(label, str):
        if label in names:
            return names.index(label)
        label = int(label) if label.isdecimal() else label
    if not isinstance(label, str) and 0 <= label < len(names):
        return int(label)
    numbers = f"0 to {len(names) - 1}"
    named = () if names == tuple(map(str, range(len(names)))) else names[:MAX_NAMES]
    more = ", ..." if named and len(names) > MAX_NAMES else ""
    listed = f", or by name: {', '.join(named)}{more}" if named else ""
    raise UserError(f"no label {label}; valid are {numbers}{listed}")


def vectors(
    spec: DataSpec, names: Sequence[str], given: Mapping[str, np.ndarray], num: int
) -> Batch:
    """[num, C] of each name, of vectors for all samples or for each."""
    found = {}
    for name in names:
        own = spec.given[name].shape
        vectors = np.asarray(given.get(name, ()), np.float32)
        if vectors.shape not in (own, (num, *own)):
            raise UserError(
                f"given[{name!r}] has shape {list(vectors.shape)}; this model needs "
                f"{list(own)}, or one for each sample, {[num, *own]}"
            )
        found[name] = np.broadcast_to(vectors, (num, *own))
    return found


def options(family: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the `sample` section of a family's config, with their types."""
    known = config_lib.sections(family)["sample"]
    for name, value in given.items():
        if name not in known:
            raise UserError(f"no option {name!r} of sampling; valid are: {', '.join(known)}")
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise UserError(f"{name}={value} must be a number from 0 up")
        if problem := known[name].type_problem(value):
            raise UserError(f"{name}={value!r} must be {problem}")
        known[name].check(name, value)
    return {name: type(known[name].default)(value) for name, value in given.items()}
