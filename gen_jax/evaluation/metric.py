"""What a measured figure is, and how a metric is declared."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gen_jax import families
from gen_jax.data.sources import Dataset
from gen_jax.evaluation.context import Context
from gen_jax.families.base import Family
from gen_jax.settings import Setting


@dataclasses.dataclass(frozen=True)
class Metric:
    """One figure of `evaluation.json`.

    Attributes:
      value: the figure.
      stderr: its standard error, None where it has none.
      unit: "nats", "bits/dim", "units", ...
      kind: "exact", "lower_bound", "upper_bound" or "estimate" of what the name says.
      n: number of examples behind it.
      spec: what two figures must share to be comparable, by name.
      each: of a mean over several runs, the figure of each run.
      without_outliers: of a mean over examples of which a few move it far, what it is without
        them (`outliers.mean_without`); else None.
    """

    value: float
    stderr: float | None
    unit: str
    kind: str
    n: int
    spec: Mapping[str, Any]
    each: tuple[float, ...] = ()
    without_outliers: float | None = None

    @classmethod
    def over_seeds(cls, figures: Sequence["Metric"], seeds: Sequence[int]) -> "Metric":
        """The mean of one figure over the runs with these seeds, with its standard error over them.

        It has none where two have the same seed: they are not independent.
        """
        values = [figure.value for figure in figures]
        mean = cls.mean(np.array(values), figures[0].unit, figures[0].kind, figures[0].spec)
        stderr = mean.stderr if len({*seeds}) == len(values) else None
        without = None
        if any(figure.without_outliers is not None for figure in figures):
            most = [f.value if f.without_outliers is None else f.without_outliers for f in figures]
            without = float(np.mean(most))
        return dataclasses.replace(
            mean, n=figures[0].n, stderr=stderr, each=tuple(values), without_outliers=without
        )

    @classmethod
    def mean(cls, values: np.ndarray, unit: str, kind: str, spec: Mapping[str, Any]) -> "Metric":
        """The mean of per-example values [N], with its standard error over examples."""
        values = np.asarray(values, np.float64)
        n = len(values)
        stderr = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
        return cls(float(values.mean()), stderr, unit, kind, n, spec)

    def scaled(self, factor: float, unit: str) -> "Metric":
        """The same figure in another unit."""
        stderr, without = (
            None if number is None else number * factor
            for number in (self.stderr, self.without_outliers)
        )
        return dataclasses.replace(
            self, value=self.value * factor, stderr=stderr, unit=unit, without_outliers=without
        )

    def to_json(self, name: str) -> dict[str, Any]:
        """As `evaluation.json` holds it under `name`: `spec` as a line, and its parts."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        parts = ", ".join(f"{key}={value}" for key, value in self.spec.items())
        row |= {"spec": f"{name}[{parts}]", "details": dict(self.spec)}
        absent = {"each": (), "without_outliers": None}
        return {k: value for k, value in row.items() if k not in absent or value != absent[k]}


@dataclasses.dataclass(frozen=True)
class MetricDefinition:
    """A metric, as the rest of the house knows it.

    Attributes:
      name: of `evaluate --metrics`.
      compute: of a context, the figures by name; there may be several.
      needs: abilities that the family must have; of a tuple of them, one.
      also: `(family, dataset, settings, name)` that refuses what else it cannot measure, by a
        `UserError`; `settings` is the `eval` section and `name` what the user knows it by.
      settings: the keys of the `eval` section that it reads. Metrics may share one.
      lower_is_better: its figures of which a smaller one is the better one.
    """

    name: str
    compute: Callable[[Context], dict[str, Metric]]
    needs: tuple[type | tuple[type, ...], ...] = ()
    also: Callable[[Family, Dataset, ConfigDict, str], None] | None = None
    settings: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    lower_is_better: tuple[str, ...] = ()

    def __call__(self, context: Context) -> dict[str, Metric]:
        """The figures.

        Raises:
          UserError: if the family or the data lack what it needs.
        """
        self.check(context.subject.family, context.dataset, context.settings, self.name)
        return self.compute(context)

    def check(self, family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
        """Refuses a family or data that it is not of; `name` is what the user knows it by.

        Raises:
          UserError: naming what is missing, and what has it.
        """
        for abilities in self.needs:
            alternatives = abilities if isinstance(abilities, tuple) else (abilities,)
            families.require(family, name, *alternatives)
        if self.also:
            self.also(family, dataset, settings, name)


_registered: dict[str, MetricDefinition] = {}


def metric(name: str, **declared: Any) -> Callable[[Callable], MetricDefinition]:
    """Makes `function(context) -> {name: Metric}` the metric of that name.

    Args:
      name: of `evaluate --metrics`.
      **declared: fields of `MetricDefinition`.
    """

    def decorate(function: Callable) -> MetricDefinition:
        _registered[name] = MetricDefinition(name, function, **declared)
        return _registered[name]

    return decorate


def registered() -> dict[str, MetricDefinition]:
    """All metrics by name, in the order of their names."""
    return dict(sorted(_registered.items()))
