"""What a run tells: metrics.jsonl, and trackers."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import files
from gen_jax.families.alarms import Alarm
from gen_jax.workdir.trackers import Tracker


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
            files.write_whole(path, "".join(f"{_to_line(row)}\n" for row in kept))
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

    def alarms(self, step: int, alarms: Sequence[Alarm]) -> None:
        """Adds one row `{"step", "alarms": [...]}` if there are any."""
        if self._enabled and alarms:
            row = {"step": step, "alarms": [alarm.to_json() for alarm in alarms]}
            self._file.write(json.dumps(row) + "\n")

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
    """The rows of metrics.jsonl: {"step", numbers}, or {"step", "alarms": [Alarm, ...]}.

    One that a kill cut short, or that is damaged, is left out.
    """
    path = Path(workdir) / "metrics.jsonl"
    if not path.is_file():
        return []
    rows = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            rows.append(_read_row(files.parse_json(line)))
    return rows


def _read_row(row: Any) -> dict:
    """One that `MetricsWriter` writes.

    Raises:
      ValueError: for what is none.
    """

    def number(value: Any) -> bool:
        # No number is larger in float32; of NaN this is False.
        return type(value) in (int, float) and abs(value) <= 3.5e38

    if not (isinstance(row, dict) and type(row.get("step")) is int and 0 <= row["step"] < 2**31):
        raise ValueError("it is no row")
    alarms = row.pop("alarms", None)
    if not all(map(number, row.values())) or not isinstance(alarms, list | None):
        raise ValueError("it is no row")
    return row if alarms is None else row | {"alarms": [Alarm.from_json(a) for a in alarms]}


def _to_line(row: dict) -> str:
    return json.dumps(row, default=Alarm.to_json)


def last_validation(workdir: Path) -> dict[str, float]:
    """The newest validation row of a run, {} if there is none."""
    rows = [row for row in read_metrics(workdir) if any(n.startswith("validation/") for n in row)]
    return rows[-1] if rows else {}


def training_seconds(batch_size: int, workdir: Path) -> float:
    """The time that training took, evaluation aside, over all its resumptions."""
    seconds, before = 0.0, 0
    for row in read_metrics(workdir):
        if "examples_per_second" in row:
            seconds += (row["step"] - before) * batch_size / row["examples_per_second"]
            before = row["step"]
    return seconds
