"""What a run shows: a progress bar, in a terminal or a notebook, and tables."""

import contextlib
import html
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table

from gen_jax import ticks as ticks_lib
from gen_jax.families.alarms import Alarm


class _MayClose:
    """A stream whose reader may leave, as `head` does: what is written after that is lost."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def that_may_close() -> Iterator[None]:
    """Within it a reader of the output that leaves does not end the work."""
    before, sys.stdout = sys.stdout, _MayClose(sys.stdout)
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout = before


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
        self._bar = _bar(self._console, total_steps, start_step)

    def __enter__(self) -> "Progress":
        going_on = f", from step {self._start:,}" if self._start else ""
        self._console.print(f"{self._title}: {self._total:,} steps{going_on}")
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def update(self, step: int, loss: float, examples_per_second: float) -> None:
        """Moves the bar; where there is none, a line every five seconds and at the end."""
        numbers = f"loss {loss:.4g}  {examples_per_second:,.0f} examples/s"
        now = time.monotonic()
        left = (now - self._began) / max(step - self._start, 1) * (self._total - step)
        self._bar.update(step, numbers, duration(left))
        if not self._bar.shows and (now - self._printed > 5 or step == self._total):
            self._printed = now
            self.message(f"step {step:,}/{self._total:,}  {numbers}  {duration(left)} left")

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text)


@contextlib.contextmanager
def ticks() -> Iterator[None]:
    """Within it a bar in the terminal shows how far a long computation of samples is."""
    shown = Console(soft_wrap=True, highlight=False, stderr=True)
    columns = (
        rich_progress.TextColumn("drawing"),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("{task.percentage:>3.0f}%"),
        rich_progress.TimeRemainingColumn(compact=True),
    )
    disable = not shown.is_terminal
    with rich_progress.Progress(*columns, console=shown, disable=disable, transient=True) as bar:
        task = bar.add_task("", total=1.0, visible=False)

        def listen(share: float) -> None:
            bar.update(task, completed=share, visible=True)

        with ticks_lib.shown_by(listen):
            yield


class _TerminalBar:
    """A bar at the bottom of a terminal; nothing where there is none."""

    def __init__(self, console: Console, total: int, start: int):
        columns = (
            rich_progress.TextColumn("{task.percentage:>3.0f}%"),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            rich_progress.TextColumn("{task.fields[numbers]}"),
            rich_progress.TimeRemainingColumn(compact=True),
        )
        self.shows = console.is_terminal
        self._bar = rich_progress.Progress(*columns, console=console, disable=not self.shows)
        self._task = self._bar.add_task("", total=total, completed=start, numbers="")

    def start(self) -> None:
        self._bar.start()

    def update(self, step: int, numbers: str, left: str) -> None:
        self._bar.update(self._task, completed=step, numbers=numbers)

    def stop(self) -> None:
        self._bar.stop()


class _NotebookBar:
    """One output of a notebook's cell that changes as the run goes on."""

    shows = True

    def __init__(self, console: Console, total: int, start: int):
        self._total, self._step = total, start

    def start(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._output = display(HTML(self._picture("", "")), display_id=True)

    def update(self, step: int, numbers: str, left: str) -> None:
        self._step = step
        self._output.update(self._html(self._picture(numbers, f"{left} left")))

    def stop(self) -> None:
        """The last state stays."""

    def _picture(self, *texts: str) -> str:
        line = html.escape("  ".join([f"{self._step:,}/{self._total:,}", *filter(None, texts)]))
        bar = f'<progress value="{self._step}" max="{self._total}" style="width: 40%"></progress>'
        return f'{bar} <span style="font-family: monospace; white-space: pre">{line}</span>'


def _bar(console: Console, total: int, start: int) -> _TerminalBar | _NotebookBar:
    notebook = console.is_jupyter and not console.quiet
    return (_NotebookBar if notebook else _TerminalBar)(console, total, start)


def duration(seconds: float) -> str:
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


def validation_table(row: Mapping[str, float]) -> None:
    """The newest validation row of a run; nothing if it is {}."""
    figures = [(n, f"{v:.4f}") for n, v in row.items() if n != "step" and "/replica_" not in n]
    if figures:
        print_table(f"validation at step {row['step']:,}", ("metric", "value"), figures)


def evaluation_table(evaluation: Mapping[str, Any]) -> None:
    """What `evaluation.json` holds, with a line below for each alarm."""
    title = "{dataset}, {split} split, step {step:,}".format(**evaluation)
    rows = []
    for name, metric in evaluation["metrics"].items():
        rows.append((name, figure(metric), metric["unit"], metric["kind"], f"{metric['n']:,}"))
    print_table(title, ("metric", "value", "unit", "kind", "examples"), rows)
    for alarm in evaluation.get("alarms", ()):
        print(f"warning: {Alarm.from_json(alarm)}")


def figure(metric: Mapping[str, Any]) -> str:
    """For example "86.76 ± 0.12": as many digits as the standard error makes sense of."""
    value, stderr = metric["value"], metric["stderr"]
    if not stderr:
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
    digits = max(2, 1 - math.floor(math.log10(stderr)))
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"
