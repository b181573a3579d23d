"""The metrics of a run between two log steps."""

import time

import jax
import numpy as np

from gen_jax.errors import UserError


class Window:
    """Metrics between two log steps. They stay on the devices until they are asked for.

    Args:
      step: where the run goes on from.
      examples_per_step: the batch size.
    """

    def __init__(self, step: int, examples_per_step: int):
        self._examples_per_step = examples_per_step
        self._first = self._counted = step
        self._on_device, self._on_host = [], []
        self._seconds, self._started = 0.0, time.perf_counter()

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
            self._on_host.append(metrics)
        self._on_device = []
        self._counted = step
        self._seconds += time.perf_counter() - self._started

    def resume(self) -> None:
        """Starts the clock again, after something that is not training."""
        self._started = time.perf_counter()

    def close(self, step: int) -> dict[str, float]:
        """The means over all steps since the last time, and the rate."""
        self.check(step)
        steps = step - self._first
        # [K] or [R, K] from each dispatch.
        joined = {
            name: np.concatenate([m[name] for m in self._on_host], -1) for name in self._on_host[0]
        }
        row = {"examples_per_second": steps * self._examples_per_step / self._seconds}
        row |= with_replicas({n: v.mean(-1, dtype=np.float64) for n, v in joined.items()})
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
