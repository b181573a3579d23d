"""What a metric needs of a family, said before any is computed."""

import functools
from collections.abc import Callable

from gen_jax import families
from gen_jax.families.base import Family


def needs(*abilities: type) -> Callable:
    """Marks a metric `(subject, ...)` that is of families with these abilities alone.

    It refuses the others, and `check` does so without computing it.
    """

    def decorate(metric: Callable) -> Callable:
        @functools.wraps(metric)
        def checked(subject, *arguments, **options):
            check(checked, subject.family, metric.__name__)
            return metric(subject, *arguments, **options)

        checked.abilities = abilities
        return checked

    return decorate


def check(metric: Callable, family: Family, name: str) -> None:
    """Refuses a family that lacks what a metric needs; `name` is what the user knows it by.

    Raises:
      UserError: naming what it lacks, and the families that have it.
    """
    for ability in getattr(metric, "abilities", ()):
        families.require(family, ability, name)
