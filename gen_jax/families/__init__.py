"""The model families, by name. Each is one folder; none imports another."""

import importlib
from typing import Any

from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Family

NAMES = ("vae", "vdvae", "vqvae", "gan", "classifier")


def _module(name: str):
    if name not in NAMES:
        raise UserError(f"unknown family {name!r}; valid are: {', '.join(NAMES)}")
    return importlib.import_module(f"gen_jax.families.{name}")


def default_model(name: str) -> ConfigDict:
    """The family's own config keys, those under `model`."""
    return _module(name).default_model()


def build(name: str, model: ConfigDict, spec: DataSpec) -> Family:
    """The family for a dataset, from the `model` section of a config."""
    return _module(name).build(model, spec)


def has(family: Any, ability: type) -> bool:
    """Whether a family, or the class of one, has all that an ability names.

    Not `isinstance`: from Python 3.12 on that does not see what `__getattr__` passes on.
    """
    return all(hasattr(family, name) for name in (*_methods(ability), *_attributes(ability)))


def require(family: Family, ability: type, purpose: str) -> Any:
    """The family, seen as having an ability (a protocol of `base`).

    Raises:
      UserError: if it lacks it, naming the families that have it.
    """
    if has(family, ability):
        return family
    methods = _methods(ability)
    able = [
        kind.__name__
        for name in NAMES
        for kind in _module(name).FAMILIES
        if all(hasattr(kind, method) for method in methods)
    ]
    kind = type(getattr(family, "family", family)).__name__  # of a wrapped one, what it wraps
    raise UserError(
        f"{purpose} needs {' and '.join(methods)}, which {kind} lacks; "
        f"families that have it: {', '.join(able) or 'none'}"
    )


def _methods(ability: type) -> list[str]:
    return [name for name in dir(ability) if not name.startswith("_")]


def _attributes(ability: type) -> list[str]:
    return list(getattr(ability, "__annotations__", ()))
