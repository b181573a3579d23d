"""The end of a sweep: results.csv, report.html and the ranked table."""

import csv
import io
from pathlib import Path

from gen_jax import files
from gen_jax.report import charts, html
from gen_jax.sweeps.spec import Sweep
from gen_jax.sweeps.study import Trial
from gen_jax.workdir import console


def write(folder: Path, title: str, sweep: Sweep, trials: list[Trial]) -> Path:
    """Prints the table and writes the files; returns report.html."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.overrides))
    header = ["rank", *keys, sweep.metric, "step", "status", "error", "run"]
    rows = [
        [
            rank,
            *(trial.overrides.get(key, "") for key in keys),
            "" if trial.value is None else trial.value,
            trial.step,
            trial.status,
            trial.error,
            f"runs/{trial.name}",
        ]
        for rank, trial in enumerate(trials, 1)
    ]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([header, *rows])
    files.write_whole(folder / "results.csv", table.getvalue())
    shown = [[_shown(cell) for cell in row] for row in rows]
    console.print_table(title, header[:-2], [row[:-2] for row in shown])

    counts = {}
    for trial in trials:
        counts[trial.status] = counts.get(trial.status, 0) + 1
    each = ", ".join(f"{count} {status}" for status, count in counts.items())
    lead = f"{len(trials)} runs ({each}), ranked by {sweep.metric} ({sweep.mode})"
    measured = [trial for trial in trials if trial.value is not None]
    values = [trial.value for trial in measured]
    points = {key: [trial.overrides.get(key) for trial in measured] for key in keys}
    sections = [("Runs", _table(header, shown))]
    if measured:
        drawn = {
            "All at once": charts.parallel_coordinates(points, values, sweep.metric),
            "Each alone": charts.against(points, values, sweep.metric),
        }
        for name, png in drawn.items():
            sections.append((name, f'<div class="plain">{html.image(png, name)}</div>'))
    return html.write_page(folder, title, lead, sections)


def _shown(cell) -> str:
    return f"{cell:.5g}" if isinstance(cell, float) else str(cell)


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.text(name)}</th>" for name in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.text(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
