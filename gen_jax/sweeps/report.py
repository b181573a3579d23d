"""The end of a sweep: results.csv, report.html and the ranked table."""

import csv
import io
from pathlib import Path

from gen_jax import files
from gen_jax.errors import UserError
from gen_jax.report import charts, curves, html, page
from gen_jax.sweeps.spec import Sweep
from gen_jax.sweeps.study import Trial
from gen_jax.workdir import console
from gen_jax.workdir.logs import read_metrics

_MAX_CURVES = 24


def write(folder: Path, title: str, sweep: Sweep, trials: list[Trial]) -> Path:
    """Prints the table and writes the files; returns report.html.

    The page links the reports of the runs, and shows the curves of all and the samples of the best.
    """
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
            trial.workdir + (f" --replica={trial.replica}" if trial.pack else ""),
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
    reports = _write_reports(folder, trials)
    table = [
        [*map(page.cell, row[:-1]), page.cell(row[-1], link=reports.get(trial.workdir, ""))]
        for row, trial in zip(shown, trials, strict=True)
    ]
    sections = [{"title": "Runs", "table": {"head": header, "rows": table}}]
    if measured:
        drawn = {
            "All at once": charts.parallel_coordinates(points, values, sweep.metric),
            "Each alone": charts.against(points, values, sweep.metric),
        }
        for name, png in drawn.items():
            group = {"layout": "one", "pictures": [page.picture(png, name, "", plain=True)]}
            sections.append({"title": name, "pictures": [group]})
    sections += [_best(folder, trials), _curves(folder, trials[:_MAX_CURVES])]
    return page.write(folder / "report.html", title, lead, sections)


def _write_reports(folder: Path, trials: list[Trial]) -> dict[str, str]:
    """Of the runs that have begun: where each one's is, by its workdir."""
    written = {}
    for workdir in dict.fromkeys(trial.workdir for trial in trials):
        if not (folder / workdir / "config.json").exists():
            continue
        try:
            html.write_report(folder / workdir)
            written[workdir] = f"{workdir}/report.html"
        except UserError as error:
            print(f"warning: no report of {workdir}: {error}")
    return written


def _best(folder: Path, trials: list[Trial]) -> page.Section:
    """The samples of the first run that has a picture of them."""
    for trial in trials:
        path = folder / trial.workdir / "samples" / "samples.png"
        if html.is_picture(path) and not trial.replica:  # whose samples are drawn
            shown = page.picture(path.read_bytes(), "samples", trial.name)
            group = {"layout": "gallery", "pictures": [shown]}
            return {"title": "Samples of the best run", "pictures": [group]}
    return {"title": "Samples of the best run"}


def _curves(folder: Path, trials: list[Trial]) -> page.Section:
    rows = {trial.name: _rows(folder, trial) for trial in trials}
    note = f"The best {_MAX_CURVES} runs." if len(trials) == _MAX_CURVES else ""
    return {"title": "Curves", "note": note, "curves": curves.groups(rows)}


def _rows(folder: Path, trial: Trial) -> list[dict]:
    """A trial's own part of its run's log."""
    rows = read_metrics(folder / trial.workdir)
    if not trial.pack:
        return rows
    end = f"/replica_{trial.replica}"
    return [
        {"step": row["step"], **{n.removesuffix(end): v for n, v in row.items() if n.endswith(end)}}
        for row in rows
    ]


def _shown(cell) -> str:
    return f"{cell:.5g}" if isinstance(cell, float) else str(cell)
