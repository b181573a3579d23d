"""The model families, by name. Each is one folder; none imports another.

A folder of this package that has a `DEFINITION` is a family of the project. One of your own is a
module anywhere that calls `register`.
"""

import functools
import importlib
import pkgutil
from typing import Any

from ml_collections import ConfigDict

from gen_jax import settings
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Family, FamilyDefinition

_registered: dict[str, FamilyDefinition] = {}


def register(definition: FamilyDefinition) -> FamilyDefinition:
    """Makes a family known under its name; one of the same name that was registered goes."""
    _registered[definition.name] = definition
    return definition


@functools.cache
def _own() -> tuple[str, ...]:
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def names() -> tuple[str, ...]:
    """Of all families."""
    return tuple(dict.fromkeys((*_own(), *_registered)))


def definition(name: str) -> FamilyDefinition:
    """The family of that name.

    Raises:
      UserError: if there is none, naming those that there are.
    """
    if name in _registered:
        return _registered[name]
    if name not in _own():
        raise UserError(
            f"unknown family {name!r}; valid are: {', '.join(names())}, and those of a module of "
            "yours that --import=MODULE names"
        )
    return importlib.import_module(f"gen_jax.families.{name}").DEFINITION


def default_model(name: str) -> ConfigDict:
    """The family's own config keys, those under `model`."""
    return settings.defaults(definition(name).settings)


def build(name: str, model: ConfigDict, spec: DataSpec) -> Family:
    """The family for a dataset, from the `model` section of a config.

    Raises:
      UserError: for values that it cannot have, or that do not go together or with the data.
    """
    family = definition(name)
    settings.check(model, family.settings, "model.")
    return family.build(model, spec)


def has(family: Any, *abilities: type) -> bool:
    """Whether a family, or the class of one, has all that some abilities name.

    Not `isinstance`: from Python 3.12 on that does not see what `__getattr__` passes on.
    """
    return all(
        hasattr(family, name)
        for ability in abilities
        for name in (*_methods(ability), *_attributes(ability))
    )


def require(family: Family, purpose: str, *abilities: type) -> Any:
    """The family, seen as having one of some abilities (protocols of `base`).

    Raises:
      UserError: if it has none of them, naming the families that have one.
    """
    if any(has(family, ability) for ability in abilities):
        return family
    needed = " or ".join(" and ".join(_methods(ability)) for ability in abilities)
    able = [
        kind.__name__
        for name in names()
        for kind in definition(name).models
        if any(all(hasattr(kind, m) for m in _methods(ability)) for ability in abilities)
    ]
    kind = type(getattr(family, "family", family)).__name__  # of a wrapped one, what it wraps
    raise UserError(
        f"{purpose} needs {needed}, which {kind} lacks; "
        f"families that have it: {', '.join(able) or 'none'}"
    )


def _methods(ability: type) -> list[str]:
    return [name for name in dir(ability) if not name.startswith("_")]


def _attributes(ability: type) -> list[str]:
    return list(getattr(ability, "__annotations__", ()))
