"""What a metric needs of a family and of the data, said before any is computed."""

import functools
from collections.abc import Callable

from gen_jax import families
from gen_jax.data.sources import Dataset
from gen_jax.families.base import Family


def needs(*abilities: type, also: Callable[[Family, Dataset, str], None] | None = None) -> Callable:
    """Marks a metric `(subject, dataset, ...)` that is of families with these abilities alone.

    It refuses the others, and `check` does so without computing it.

    Args:
      abilities: protocols of `families/base.py`.
      also: `(family, dataset, name)` that refuses what else the metric cannot measure, by a
        `UserError`; `name` is what the user knows it by.
    """

    def decorate(metric: Callable) -> Callable:
        @functools.wraps(metric)
        def checked(subject, dataset, *arguments, **options):
            check(checked, subject.family, dataset, metric.__name__)
            return metric(subject, dataset, *arguments, **options)

        checked.abilities, checked.also = abilities, also
        return checked

    return decorate


def check(metric: Callable, family: Family, dataset: Dataset, name: str) -> None:
    """Refuses a family or data that a metric is not of; `name` is what the user knows it by.

    Raises:
      UserError: naming what is missing, and what has it.
    """
    for ability in getattr(metric, "abilities", ()):
        families.require(family, ability, name)
    if also := getattr(metric, "also", None):
        also(family, dataset, name)
