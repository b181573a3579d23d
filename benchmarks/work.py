"""A piece of work that several contestants do, and the registry of them."""

import dataclasses
import functools
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


def of_training(
    name: str,
    steps: int,
    experiment: Callable,
    torch_runner: Callable[[bool], Runner],
    compiles: bool = True,
) -> Work:
    """Training steps of a config, and of a plain rendering in PyTorch.

    Args:
      name: of the work.
      steps: of one time of it, which is the config's `steps_per_dispatch`.
      experiment: `() -> Experiment`, gen_jax's.
      torch_runner: `(compiled) -> Runner`, with torch.compile or without.
      compiles: whether torch.compile can do it.
    """

    def gen_jax() -> Runner:
        from benchmarks import training

        return training.runner(experiment())

    def cost() -> tuple[float, float]:
        from benchmarks import training

        return training.work_cost(experiment())

    contestants = {"gen_jax": gen_jax, "pytorch": functools.partial(torch_runner, False)}
    if compiles:
        contestants["pytorch_compiled"] = functools.partial(torch_runner, True)
    return Work(name, f"{steps} steps", contestants, cost)


def of_sampling(
    name: str, unit: str, num: int, experiment: Callable, torch_network: Callable
) -> Work:
    """`num` samples of a config's model, and of PyTorch's by its method `sample(num, device)`."""

    def gen_jax() -> Runner:
        from benchmarks import training

        return training.sampler(experiment(), num)

    def torch_runner() -> Runner:
        from benchmarks import pytorch

        return pytorch.sampler(torch_network, num)

    return Work(name, unit, {"gen_jax": gen_jax, "pytorch": torch_runner})


def find() -> dict[str, Work]:
    """All works: each module of `benchmarks.works` has a list `WORKS`."""
    package = importlib.import_module("benchmarks.works")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"benchmarks.works.{name}") for name in names]
    works = [work for module in modules for work in getattr(module, "WORKS", ())]
    return {work.name: work for work in works}
