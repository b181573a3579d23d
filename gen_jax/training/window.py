"""The metrics of a run between two log steps."""

import time
from collections.abc import Mapping

import jax
import numpy as np

from gen_jax.errors import UserError

_FIRST, _SECONDS = "first step", "seconds"  # beside the metrics in what is saved


class Window:
    """Metrics between two log steps. They stay on the devices until they are asked for.

    Args:
      step: where the run goes on from.
      examples_per_step: the batch size.
      saved: `state` of the window that a checkpoint of this step was saved in, if there is one: the
        next row is then of all its steps, as if nothing had come between.
    """

    def __init__(
        self, step: int, examples_per_step: int, saved: Mapping[str, np.ndarray] | None = None
    ):
        self._examples_per_step = examples_per_step
        self._first = self._counted = step
        self._on_device, self._on_host = [], []
        self._seconds, self._started = 0.0, time.perf_counter()
        self._saved = dict(saved or {})

    def state(self) -> dict[str, np.ndarray]:
        """What has been added since the last row, {} for nothing; to be called after `check`."""
        if not self._on_host:
            return {}
        own = {_FIRST: np.int64(self._first), _SECONDS: np.float64(self._seconds)}
        return own | self._joined()

    def _joined(self) -> dict[str, np.ndarray]:
        """[K] or [R, K] of each metric, over all steps."""
        return {
            name: np.concatenate([m[name] for m in self._on_host], -1) for name in self._on_host[0]
        }

    def add(self, metrics: dict) -> None:
        """Takes a dispatch's metrics, and waits for the dispatch before it.

        So the devices have the next to do, and a signal waits for two dispatches at most and not
        for all that the host could send until the next log step.
        """
        if self._on_device:
            jax.block_until_ready(self._on_device[-1])
        self._on_device.append(metrics)

    def check(self, step: int) -> None:
        """Waits for the devices, and refuses to go on from numbers that are not finite.

        Raises:
          UserError: naming the metric, the interval and what to try.
        """
        for metrics in jax.device_get(self._on_device):
            check_finite(metrics, f"between steps {self._counted} and {step}")
            self._go_on_with_saved(metrics)
            self._on_host.append(metrics)
        self._on_device = []
        self._counted = step
        self._seconds += time.perf_counter() - self._started

    def _go_on_with_saved(self, metrics: dict[str, np.ndarray]) -> None:
        """Puts what was saved before a run's first metrics, unless it is of other metrics."""
        saved, self._saved = self._saved, {}
        first, seconds = saved.pop(_FIRST, None), saved.pop(_SECONDS, None)
        alike = {n: np.shape(v)[:-1] for n, v in saved.items()} == {
            n: np.shape(v)[:-1] for n, v in metrics.items()
        }
        if alike and first is not None and seconds is not None:
            self._on_host, self._first = [saved], int(first)
            self._seconds += float(seconds)

    def resume(self) -> None:
        """Starts the clock again, after something that is not training."""
        self._started = time.perf_counter()

    def close(self, step: int) -> dict[str, float]:
        """The means over all steps since the last time, and the rate."""
        self.check(step)
        steps = step - self._first
        row = {"examples_per_second": steps * self._examples_per_step / self._seconds}
        row |= with_replicas({n: v.mean(-1, dtype=np.float64) for n, v in self._joined().items()})
        self._first, self._on_host, self._seconds = step, [], 0.0
        self.resume()
        return row


def check_finite(figures: dict, when: str) -> None:
    """Refuses what is not finite; the losses first, as they are what a user knows.

    Raises:
      UserError: naming the metric, `when` it was so, and what to try.
    """
    for name in sorted(figures, key=lambda name: not name.startswith("loss/")):
        if not np.isfinite(figures[name]).all():
            raise UserError(
                f"{name} is not finite {when}: try a lower --config.optim.lr, "
                "--config.optim.clip_norm=1 or --config.optim.warmup_steps; the last good "
                "checkpoint stays"
            )


def with_replicas(values: dict[str, np.ndarray]) -> dict[str, float]:
    """Scalars as they are; arrays [R] as their mean and one entry for each replica."""
    row = {}
    for name, value in values.items():
        row[name] = float(np.mean(value))
        if np.ndim(value):
            row |= {f"{name}/replica_{r}": float(v) for r, v in enumerate(value)}
    return row
