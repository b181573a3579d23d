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


def require(family: Family, ability: type, purpose: str) -> Any:
    """The family, seen as having an ability (a protocol of `base`).

    Raises:
      UserError: if it lacks it, naming the families that have it.
    """
    if isinstance(family, ability):
        return family
    methods = [name for name in dir(ability) if not name.startswith("_")]
    able = [
        kind.__name__
        for name in NAMES
        for kind in _module(name).FAMILIES
        if all(hasattr(kind, method) for method in methods)
    ]
    raise UserError(
        f"{purpose} needs {' and '.join(methods)}, which {type(family).__name__} lacks; "
        f"families that have it: {', '.join(able) or 'none'}"
    )
