"""What a run tells: metrics.jsonl, trackers, a progress bar, tables."""

import contextlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table

from gen_jax import files
from gen_jax.trackers import Tracker


class MetricsWriter:
    """metrics.jsonl, one object a row, and the same for trackers.

    Args:
      workdir: folder of the run.
      resume_step: rows later than it belong to steps that will be run again, and are dropped.
      trackers: where the numbers go beside the file, and the pictures.
      enabled: False on all processes but the first: nothing is written.
    """

    def __init__(
        self,
        workdir: Path,
        resume_step: int,
        trackers: Sequence[Tracker] = (),
        enabled: bool = True,
    ):
        self._enabled, self._trackers = enabled, trackers
        if not enabled:
            return
        path = Path(workdir) / "metrics.jsonl"
        if path.is_file():
            kept = [row for row in read_metrics(workdir) if row["step"] <= resume_step]
            files.write_whole(path, "".join(f"{json.dumps(row)}\n" for row in kept))
        self._file = open(path, "a", buffering=1)  # noqa: SIM115

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one row.

        Raises:
          ValueError: for a value that is not finite, which JSON does not have.
        """
        if not self._enabled:
            return
        row = {"step": step, **metrics}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        for tracker in self._trackers:
            tracker.scalars(step, metrics)

    def alarms(self, step: int, lines: Sequence[str]) -> None:
        """Adds one row `{"step", "alarms": [...]}` if there are any."""
        if self._enabled and lines:
            self._file.write(json.dumps({"step": step, "alarms": list(lines)}) + "\n")

    def image(self, name: str, step: int, image: np.ndarray) -> None:
        """A picture uint8 [H, W, 3], for trackers."""
        for tracker in self._trackers:
            tracker.image(name, step, image)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # each of them, whatever the others do
            for tracker in self._trackers:
                stack.callback(tracker.close)
            if self._enabled:
                stack.callback(self._file.close)


def read_metrics(workdir: Path) -> list[dict]:
    """The rows of metrics.jsonl. One that a kill cut short, or that is damaged, is left out."""
    path = Path(workdir) / "metrics.jsonl"
    if not path.is_file():
        return []
    rows = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            row = files.parse_json(line)
            if _is_row(row):
                rows.append(row)
    return rows


def _is_row(row: Any) -> bool:
    """Whether it is one that `MetricsWriter` writes: {"step", numbers} or {"step", "alarms"}."""

    def number(value: Any) -> bool:
        # No number is larger in float32; of NaN this is False.
        return type(value) in (int, float) and abs(value) <= 3.5e38

    def lines(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(line, str) for line in value)

    return (
        isinstance(row, dict)
        and type(row.get("step")) is int
        and 0 <= row["step"] < 2**31
        and all(lines(v) if name == "alarms" else number(v) for name, v in row.items())
    )


class Progress:
    """A progress bar with loss, examples a second and time left; lines where it cannot be one.

    Args:
      total_steps: of the whole run.
      start_step: where it goes on from.
      title: what is running.
      enabled: False on all processes but the first: nothing is printed.
    """

    def __init__(self, total_steps: int, start_step: int, title: str, enabled: bool = True):
        self._total, self._start, self._title = total_steps, start_step, title
        self._console = Console(soft_wrap=True, highlight=False, quiet=not enabled)
        self._began = self._printed = time.monotonic()
        columns = (
            rich_progress.TextColumn("{task.percentage:>3.0f}%"),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            rich_progress.TextColumn("{task.fields[numbers]}"),
            rich_progress.TimeRemainingColumn(compact=True),
        )
        self._bar = rich_progress.Progress(
            *columns, console=self._console, disable=not self._console.is_terminal
        )
        self._task = self._bar.add_task(title, total=total_steps, completed=start_step, numbers="")

    def __enter__(self) -> "Progress":
        going_on = f", from step {self._start:,}" if self._start else ""
        self._console.print(f"{self._title}: {self._total:,} steps{going_on}")
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def update(self, step: int, loss: float, examples_per_second: float) -> None:
        """Moves the bar; without a terminal, a line every five seconds and at the end."""
        numbers = f"loss {loss:.4g}  {examples_per_second:,.0f} examples/s"
        self._bar.update(self._task, completed=step, numbers=numbers)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._printed > 5 or step == self._total):
            self._printed = now
            done = max(step - self._start, 1)
            left = (now - self._began) / done * (self._total - step)
            self.message(f"step {step:,}/{self._total:,}  {numbers}  {_duration(left)} left")

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; numbers belong in the columns after the first, which are set to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        # Names are whole, to be copied; where there is no terminal so is all.
        style = {"justify": "right"} if index else {"no_wrap": True}
        table.add_column(column, overflow="fold", **style)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1_000
    console.print(table)


def evaluation_table(evaluation: dict) -> None:
    """What `evaluation.json` holds, with a line below for each alarm."""
    title = "{dataset}, {split} split, step {step:,}".format(**evaluation)
    rows = []
    for name, metric in evaluation["metrics"].items():
        rows.append((name, figure(metric), metric["unit"], metric["kind"], f"{metric['n']:,}"))
    print_table(title, ("metric", "value", "unit", "kind", "examples"), rows)
    for line in evaluation.get("alarms", ()):
        print(f"warning: {line}")


def figure(metric: dict) -> str:
    """For example "86.76 ± 0.12": as many digits as the standard error makes sense of."""
    value, stderr = metric["value"], metric["stderr"]
    if not stderr:
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
    digits = max(2, 1 - math.floor(math.log10(stderr)))
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"
