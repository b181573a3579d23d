"""What choices of a config need of one another and of the data: tables that a family's parts hold.

Requirement({"prior": only("vamp")}, {"conditional": only(False)}, "its inputs have no label")
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Values:
    """Some of the values of a key.

    Attributes:
      text: how an error puts them after the key's name: "=5", " above 0".
      holds: whether a value is one of them.
      example: one of them, which the error proposes.
    """

    text: str
    holds: Callable[[Any], bool]
    example: Any


def only(*values: Any) -> Values:
    """One of these; the first is proposed."""
    text = "=" + " or ".join(map(str, values))
    return Values(text, lambda value: value in values, values[0])


def other_than(value: Any, example: Any = None) -> Values:
    """Any but this one."""
    return Values(f" other than {value}", lambda given: given != value, example)


def above(bound: float, example: float) -> Values:
    """Numbers above a bound."""
    return Values(f" above {bound}", lambda value: value > bound, example)


def at_most(bound: float, example: float) -> Values:
    """Numbers up to a bound."""
    return Values(f" of at most {bound}", lambda value: value <= bound, example)


def not_empty(example: tuple) -> Values:
    """A list with something in it."""
    return Values(" that is not empty", bool, example)


# Of the data, under the key "data".
IMAGES = Values("images", lambda spec: spec.is_image, None)
GRADIENTS = Values("data with gradients", lambda spec: spec.kind in ("bytes", "real"), None)
LABELS = Values("labels", lambda spec: spec.num_classes > 0, None)
CONDITIONS = Values(
    "labels, or vectors that an example has beside x",
    lambda spec: (
        all(own.kind == "real" and len(own.shape) == 1 for own in spec.given.values())
        and (spec.num_classes > 0 or bool(spec.given))
    ),
    None,
)


@dataclasses.dataclass(frozen=True)
class Requirement:
    """Where `when` holds of a config's `model` section, `needs` must hold too.

    Attributes:
      when: keys and their values, all of which must hold; {} for always.
      needs: keys and the values that they must have; "data" stands for the `DataSpec`.
      because: the reason, or what to do if it is not plain.
      fix: what an error proposes instead of an example of the first thing that is missing.
    """

    when: Mapping[str, Values]
    needs: Mapping[str, Values]
    because: str
    fix: str = ""

    def check(self, model: ConfigDict, spec: DataSpec) -> None:
        """Refuses a section that does not meet it.

        Raises:
          UserError: naming what is chosen, what it needs, why, and the key to change.
        """
        facts = {**model, "data": spec}
        if not all(values.holds(facts[key]) for key, values in self.when.items()):
            return
        for key, values in self.needs.items():
            if values.holds(facts[key]):
                continue
            chosen = " and ".join(f"model.{name}={model[name]!r}" for name in self.when)
            needed, here = f"model.{key}{values.text}", f"it is {facts[key]!r}"
            if key == "data":
                form = f"{spec.kind} of shape {list(spec.shape)} with {spec.num_classes} classes"
                needed, here = values.text, f"the data are {form}"
            fix = self.fix or _flag(key, values.example)
            raise UserError(
                f"{chosen or 'this model'} needs {needed} and {here}: {self.because}; {fix}"
            )


def check(model: ConfigDict, spec: DataSpec, requirements: Sequence[Requirement]) -> None:
    """Refuses a `model` section that does not meet one of them.

    Raises:
      UserError: see `Requirement.check`.
    """
    for requirement in requirements:
        requirement.check(model, spec)


def _flag(key: str, example: Any) -> str:
    if key == "data":
        return "choose another --config.data.name"
    quoted = f'"{example}"' if isinstance(example, tuple) else example
    return f"use --config.model.{key}={quoted}"


def check_heads(model: ConfigDict) -> None:
    """Refuses features that the heads of a rotary attention do not share out in even parts.

    Raises:
      UserError: naming both.
    """
    if model.features % (2 * model.heads):
        raise UserError(
            f"model.features={model.features} must be a multiple of 2 * model.heads="
            f"{2 * model.heads}: --config.model.heads=1, or other features"
        )
