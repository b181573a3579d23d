"""What a sweep tries: overrides one by one, or a space that is searched.

An experiment file has a `sweep` beside its `get_config`, which is given the same axes:

    def sweep():
        return Sweep("validation/elbo", "max", trials=grid({"optim.lr": (1e-3, 3e-3)}))
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Overrides = dict[str, Any]  # config key -> value


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Numbers between two, evenly spread, or their logarithms are."""

    low: float
    high: float
    log: bool = False

    def draw(self, generator: np.random.Generator) -> float:
        if self.log:
            return float(np.exp(generator.uniform(np.log(self.low), np.log(self.high))))
        return float(generator.uniform(self.low, self.high))


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple

    def draw(self, generator: np.random.Generator) -> Any:
        return self.values[generator.integers(len(self.values))]


Space = Mapping[str, Uniform | Choice]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A study of many runs.

    Attributes:
      metric: of the validation rows, by which runs are ranked.
      mode: "max" or "min".
      trials: overrides of each run, from `grid` or `draws`; or none, and then
      space: what is searched,
      num_trials: by so many runs,
      search: whose values Optuna proposes ("tpe"); or runs that change theirs as they go, copying
        better ones ("pbt", population-based training).
      stop_early: runs are halted where others are better at the same step (ASHA).
      cpus: of one run.
      gpus: of one run.
    """

    metric: str
    mode: str
    trials: Sequence[Overrides] = ()
    space: Space = dataclasses.field(default_factory=dict)
    num_trials: int = 0
    search: str = "tpe"
    stop_early: bool = False
    cpus: float = 1
    gpus: float = 0

    def __post_init__(self):
        if self.mode not in ("max", "min"):
            raise ValueError(f"mode {self.mode!r} must be max or min")
        if self.search not in ("tpe", "pbt"):
            raise ValueError(f"search {self.search!r} must be tpe or pbt")
        if bool(self.trials) == bool(self.space and self.num_trials):
            raise ValueError("a sweep has either trials, or a space and num_trials")
        if self.search == "pbt" and self.trials:
            raise ValueError("a population (pbt) needs a space to change its values in")


def grid(values: Mapping[str, Sequence]) -> list[Overrides]:
    """Every combination of the values of each key."""
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def draws(space: Space, num: int, seed: int = 0) -> list[Overrides]:
    """Random points of a space: the same for the same seed."""
    generator = np.random.default_rng(seed)
    return [{key: each.draw(generator) for key, each in space.items()} for _ in range(num)]
