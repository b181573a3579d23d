"""A piece of work that several contestants do, and the registry of them."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable

# Does the work so many times and returns when all of it is done.
Runner = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
      name: as in results/speed.json.
      unit: what one time of it is: "step", "10,000 images", ...
      contestants: name -> function that makes a runner; "gen_jax", "pytorch", "pytorch_compiled".
        Each is called in a process of its own, and imports what it needs.
      cost: of one time, as XLA counts it: floating-point operations, and bytes read and written
        by its operations. None where the machine's rates say nothing.
    """

    name: str
    unit: str
    contestants: dict[str, Callable[[], Runner]]
    cost: Callable[[], tuple[float, float]] | None = None


def find() -> dict[str, Work]:
    """All works: each module of `benchmarks.works` has a list `WORKS`."""
    package = importlib.import_module("benchmarks.works")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"benchmarks.works.{name}") for name in names]
    works = [work for module in modules for work in getattr(module, "WORKS", ())]
    return {work.name: work for work in works}
