"""What a measured figure is."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Metric:
    """One figure of `evaluation.json`.

    Attributes:
      value: the figure.
      stderr: its standard error, None where it has none.
      unit: "nats", "bits/dim", "units", ...
      kind: "exact", "lower_bound", "upper_bound" or "estimate" of what the name says.
      n: number of examples behind it.
      spec: what two figures must share to be comparable.
      each: of a mean over several runs, the figure of each run.
    """

    value: float
    stderr: float | None
    unit: str
    kind: str
    n: int
    spec: str
    each: tuple[float, ...] = ()

    @classmethod
    def over_seeds(cls, figures: Sequence["Metric"]) -> "Metric":
        """The mean of one figure over independent runs, with its standard error over them."""
        values = [figure.value for figure in figures]
        mean = cls.mean(np.array(values), figures[0].unit, figures[0].kind, figures[0].spec)
        return dataclasses.replace(mean, n=figures[0].n, each=tuple(values))

    @classmethod
    def mean(cls, values: np.ndarray, unit: str, kind: str, spec: str) -> "Metric":
        """The mean of per-example values [N], with its standard error over examples."""
        values = np.asarray(values, np.float64)
        n = len(values)
        stderr = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
        return cls(float(values.mean()), stderr, unit, kind, n, spec)

    def scaled(self, factor: float, unit: str, spec: str) -> "Metric":
        """The same figure in another unit."""
        stderr = None if self.stderr is None else self.stderr * factor
        return dataclasses.replace(
            self, value=self.value * factor, stderr=stderr, unit=unit, spec=spec
        )
