"""What differs between the replicas of a run: the seed, and `config.replica_values`."""

import dataclasses
import functools
import operator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import families
from gen_jax import settings as settings_lib
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Family
from gen_jax.training.optimizers import Optimizer

Values = dict[str, np.ndarray]  # config key -> [R, ...], or one replica's


def keys(family: str) -> tuple[str, ...]:
    """The config keys that may differ, of a family."""
    every = settings_lib.flat(config_lib.sections(family))
    return tuple(key for key, setting in every.items() if setting.per_replica)


def values(config: ConfigDict) -> Values:
    """The seeds, uint32 [R], and float32 [R, ...] for each key of `replica_values`.

    Raises:
      UserError: for a key that cannot differ, or values that are not one for each replica.
    """
    count, valid = config.num_replicas, keys(config.family)
    found = {"seed": np.arange(config.seed, config.seed + count, dtype=np.uint32)}
    for entry in config.replica_values:
        try:
            key, each = entry
            each = np.asarray(each, np.float32 if key != "seed" else None)
            each = each if key != "seed" else np.array([operator.index(s) for s in each], np.uint32)
        except (OverflowError, TypeError, ValueError):
            raise UserError(
                f"replica_values has {entry!r}; entries are (KEY, (VALUE, VALUE, ...))"
            ) from None
        if key not in valid:
            raise UserError(f"replica_values: {key!r} cannot differ; valid are: {', '.join(valid)}")
        if not np.isfinite(each).all():
            raise UserError(f"replica_values: {key} has a value that is not finite")
        if each.shape != (count, *np.shape(_value(config, key))):
            raise UserError(
                f"replica_values: {key} needs a value of its kind for each of "
                f"num_replicas={count}, and has {list(each.tolist())}"
            )
        found[key] = each
    return found


def check(config: ConfigDict, spec: DataSpec) -> None:
    """Refuses values that a run of its own could not have.

    Raises:
      UserError: naming the key.
    """
    found, sections = values(config), config_lib.sections(config.family)
    for key, _ in config.replica_values:
        section, _, name = key.rpartition(".")
        for value in found[key].tolist():
            own = config.copy_and_resolve_references()
            part = own[section] if section else own
            part[name] = type(part[name])(value)
            config_lib.check_values(own.to_dict(), sections)
            families.build(own.family, own.model, spec)


def of_replica(values: Values, replica: int) -> Values:
    """Those of one replica."""
    return {key: each[replica] for key, each in values.items()}


def apply(
    values: Values, config: ConfigDict, family: Family, optimizer: dict[str, Optimizer]
) -> tuple[Family, dict[str, Optimizer]]:
    """A family and optimisers with one replica's values, which may be traced.

    A network with a key of its own (`optim.NETWORK.lr`) keeps it.

    Raises:
      UserError: if the family has no such number.
    """
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section == "optim":
            optimizer = {
                network: each
                if name in config.optim.get(network, {})
                else each.with_value(name, value)
                for network, each in optimizer.items()
            }
        elif section == "model":
            if not hasattr(family, name):
                raise UserError(f"replica_values: {type(family).__name__} has no {key}")
            family = dataclasses.replace(family, **{name: value})
    return family, optimizer


def _value(config: ConfigDict, key: str) -> Any:
    return functools.reduce(operator.getitem, key.split("."), config)
