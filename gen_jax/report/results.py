"""Measured rows behind the tables of the docs.

`results/TABLE.json` lists a table's rows. What is known before a measurement (reference,
source, protocol, deviation, command) is written there by hand, with status "not run" and no
value. `launch.py evaluate --record=TABLE` fills in the rest, so no measured figure is typed.
`python -m gen_jax.report.results` writes docs/results.md from them.
"""

import difflib
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import evaluation, files, settings
from gen_jax.errors import UserError
from gen_jax.evaluation.metric import Metric
from gen_jax.training.best import Best
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.workdir import console, logs, provenance

ROOT = files.own_folder()
FIELDS = (
    *("row", "metric", "value", "stderr", "unit", "n", "seeds", "worst"),
    *("reference", "source", "protocol"),
    *("deviation", "hardware", "wall_clock_s", "command", "commit", "status"),
)


def read(path: Path) -> list[dict]:
    """The rows of a table.

    Raises:
      UserError: if there is no such table, naming those that there are.
    """
    if not path.exists():
        tables = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise UserError(f"no table {path.stem!r}; there are: {tables}")
    return json.loads(path.read_text())


def write(path: Path, rows: list[dict]) -> None:
    """Writes a table, whole or not at all."""
    files.write_whole(path, json.dumps(rows, indent=2) + "\n")


def check_run(path: Path, config: ConfigDict, workdir: Path, replica: int | None) -> None:
    """Refuses to record what a row's command does not measure: a run changed or not at its end.

    Args:
      path: `results/TABLE.json`.
      config: of the run, with what the command line changed in it.
      workdir: of the run.
      replica: the only one to be measured, None for all.

    Raises:
      UserError: naming what differs, or if the table has no row for the experiment.
    """
    _rows(path, config)
    if config.replica_values:
        raise UserError("--record: the replicas differ in more than their seed (replica_values)")
    if replica is not None:
        raise UserError(f"--record: a row has all replicas of a run; leave out --replica={replica}")
    step = max(Checkpoints(workdir / "checkpoints").steps(), default=0)
    lower = evaluation.lower_is_better(config.keep_best)
    best = Best(config.keep_best, lower, logs.read_metrics(workdir))
    if step < config.steps and not best.is_over(config.patience):
        raise UserError(
            f"--record: the run stands at step {step:,} of {config.steps:,}; train it to its end"
        )


def record(
    path: Path, config: ConfigDict, figures: dict[str, Metric], seconds: float, hardware: str
) -> list[dict]:
    """Fills in the rows that a run measures, in place, and returns them.

    Args:
      path: `results/TABLE.json`.
      config: of the run; its `experiment` names the row.
      figures: what was measured.
      seconds: training time.
      hardware: of training.

    Raises:
      UserError: if the table has no row for this experiment and these metrics.
    """
    rows, own = _rows(path, config)
    filled = [row for row in own if row["metric"] in figures]
    if not filled:
        there = ", ".join(row["metric"] for row in own)
        raise UserError(
            f"table {path.stem!r} has {there} of {own[0]['row']!r}, and {', '.join(figures)} were "
            f"measured; use --metrics={there}"
        )
    for row in filled:
        figure = figures[row["metric"]]
        row |= {
            "value": round(figure.value, 4),
            "stderr": None if figure.stderr is None else round(figure.stderr, 4),
            "unit": figure.unit,
            "n": figure.n,
            "seeds": list(range(config.seed, config.seed + max(len(figure.each), 1))),
            "worst": _worst(row["metric"], figure),
            "hardware": hardware,
            "wall_clock_s": round(seconds),
            "commit": provenance.commit(),
            "status": "measured",
        }
    write(path, rows)
    return filled


def print_rows(table: str) -> None:
    """The rows of a table on the console: what was measured, and how long training took."""
    rows = read(ROOT / "results" / f"{table}.json")
    cells = [(row["row"], row["metric"], *summary(row)) for row in rows]
    columns = ("row", "metric", "measured", "reference", "difference", "time")
    console.print_table(f"table {table}", columns, cells)
    print(f"to measure: python launch.py reproduce --table={table} --rows=ROW,ROW")


def commands(table: str, names: Sequence[str]) -> list[list[str]]:
    """What `launch.py` is given, one command after another, to measure some of a table's rows.

    Experiments are those of this installation, wherever the working directory is.

    Raises:
      UserError: if a row is not in the table, or is measured by another program.
    """
    rows, found = read(ROOT / "results" / f"{table}.json"), []
    own, here = "--config=experiments/", os.path.relpath(ROOT / "experiments")
    for name in names:
        lines = dict.fromkeys(row["command"] for row in rows if row["row"] == name)
        if not lines:
            raise _no_row(table, name, rows)
        for line in lines:
            for part in line.split(" && "):
                program, *arguments = shlex.split(part.removeprefix("python "))
                if program != "launch.py":
                    raise UserError(f"row {name!r} is no experiment; it is measured by {line}")
                there = [
                    f"--config={here}/{word.removeprefix(own)}" if word.startswith(own) else word
                    for word in arguments
                ]
                if there not in found:
                    found.append(there)
    return found


def _no_row(table: str, name: str, rows: list[dict]) -> UserError:
    """The error about a row that a table does not have."""
    close = difflib.get_close_matches(name, dict.fromkeys(row["row"] for row in rows), 3)
    listed = f"python launch.py reproduce --table={table} lists them"
    hint = f"did you mean {' or '.join(close)}?" if close else listed
    return UserError(f"table {table!r} has no row {name!r}; {hint}")


def _rows(path: Path, config: ConfigDict) -> tuple[list[dict], list[dict]]:
    """All rows of a table, and those among them whose command is what a run was made by."""
    rows = read(path)
    file, argument = config_lib.split_argument(config.experiment)
    name = Path(file).stem + (f":{argument}" if argument else "")
    named = [row for row in rows if row["row"] == name]
    if not named:
        raise _no_row(path.stem, name, rows)
    changes = _changes(config.overrides, config.family)
    wanted = [_changes(shlex.split(row["command"]), config.family) for row in named]
    own = [row for row, asked in zip(named, wanted, strict=True) if asked == changes]
    if not own:
        if more := sorted(changes - wanted[0]):
            raise UserError(
                f"--record: this run was changed by {more[0]}, and a row is of its experiment as "
                "its command has it; record a run without it, in a --workdir of its own"
            )
        missing = " ".join(sorted(wanted[0] - changes))
        raise UserError(f"--record: row {name!r} is measured with {missing}; add that")
    return rows, own


def _changes(arguments: Sequence[str], family: str) -> set[str]:
    """Those of a command's arguments that change a config in what a figure depends on."""
    keys = settings.flat(config_lib.sections(family))

    def matters(argument: str) -> bool:
        setting = keys.get(argument.partition("=")[0].removeprefix("--config."))
        return setting is None or setting.affects != "nothing"

    return {each for each in arguments if each.startswith("--config.") and matters(each)}


def _worst(name: str, figure: Metric) -> float | None:
    if not figure.each:
        return None
    return round(max(figure.each) if evaluation.lower_is_better(name) else min(figure.each), 4)


_INTRODUCTION = """# Results

Written by `python -m gen_jax.report.results` from `results/`, a section a file. A figure is the
mean over test examples or samples ± its standard error. With several seeds it is their mean ± the
standard error over them, with the worst of them beside it. Real data in the place of samples score
what stands in brackets. Time is the wall clock of training, other work beside it and pauses
included: an upper bound. What the figures are called is said in [metrics](vae.md#metrics).
"""


def render(folder: Path) -> str:
    """docs/results.md of the tables in a folder."""
    tables = (_table(path.stem, read(path)) for path in sorted(folder.glob("*.json")))
    return "\n".join([_INTRODUCTION, *tables])


def _table(name: str, rows: list[dict]) -> str:
    """A section: a row a model and a column a metric; what the rows have in common stands below."""
    measured = [row for row in rows if row["value"] is not None]
    metrics = [m for m in dict.fromkeys(row["metric"] for row in measured) if not _is_of_data(m)]
    published = {row["metric"] for row in measured if row["reference"] is not None}
    timed = any(row["wall_clock_s"] for row in measured)
    header = ["row"]
    for metric in metrics:
        unit = next(row["unit"] for row in measured if row["metric"] == metric)
        header.append(f"{metric} ({unit})" if unit not in metric else metric)
        header += ["published"] if metric in published else []
    header += ["seeds"] if any(len(row["seeds"] or ()) > 1 for row in measured) else []
    header += ["time"] if timed else []
    if not measured:
        return "\n".join([f"## {name}", "", *_notes(rows, measured), *_commands(rows)])
    lines = [f"## {name}", "", _cells(header), _cells(["---"] * len(header))]
    for row_name in dict.fromkeys(row["row"] for row in measured):
        own = {row["metric"]: row for row in measured if row["row"] == row_name}
        cells = [row_name]
        for metric in metrics:
            cells.append(_figure(own, metric))
            if metric in published:
                reference = own[metric]["reference"] if metric in own else None
                cells.append("" if reference is None else f"{reference:g}")
        first = next(iter(own.values()))
        if "seeds" in header:
            cells.append(str(len(first["seeds"] or ())))
        if timed:
            cells.append(_time(first))
        lines.append(_cells(cells))
    return "\n".join([*lines, "", *_notes(rows, measured), *_commands(rows)])


def _is_of_data(metric: str) -> bool:
    """Whether it is what real data score, which stands beside what samples do."""
    return metric.endswith(("_floor", "_real"))


def _figure(own: dict[str, dict], metric: str) -> str:
    """One cell: the figure, the worst seed, and what real data score."""
    if metric not in own:
        return ""
    row = own[metric]
    text = console.figure(row)
    if row["worst"] is not None:
        text += f", worst {console.figure(row | {'value': row['worst']}).partition(' ')[0]}"
    for suffix in ("_floor", "_real"):
        if real := own.get(metric + suffix):
            text += f" ({console.figure(real)})"
    return text


def _notes(rows: list[dict], measured: list[dict]) -> list[str]:
    """Paragraphs: what was not run, how many examples, the hardware, protocols and the like."""
    notes = []
    counts: dict[str, list[str]] = {}
    for row in measured:
        same = counts.setdefault(f"{row['n']:,}", [])
        if row["metric"] not in same:
            same.append(row["metric"])
    if not counts:
        pass
    elif len(counts) == 1:
        notes.append(f"Each over {next(iter(counts))} examples, samples or rounds.")
    else:
        each = "; ".join(f"{', '.join(names)}: {n}" for n, names in counts.items())
        notes.append(f"Examples, samples or rounds: {each}.")
    for key, title in (
        ("hardware", "Hardware"),
        ("protocol", "Protocol"),
        ("deviation", "Deviation"),
        ("source", "Reference"),
    ):
        notes += _shared(measured or rows, key, title)
    pending = [row for row in rows if row["value"] is None]
    if pending:
        names = dict.fromkeys(row["row"] for row in pending)
        published = {
            row["row"]: f" (published {row['reference']:g})"
            for row in pending
            if row["reference"] is not None
        }
        listed = ", ".join(f"`{name}`{published.get(name, '')}" for name in names)
        notes.append(f"Not run: {listed}.")
    return [line for note in notes for line in (note, "")]


def _shared(rows: list[dict], key: str, title: str) -> list[str]:
    """A text of all rows once; otherwise each text with the rows that it is of."""
    texts: dict[str, dict[str, None]] = {}
    for row in rows:
        if row[key]:
            texts.setdefault(row[key], {})[row["row"]] = None
    everything = {row["row"] for row in rows}
    notes = []
    for text, names in texts.items():
        whose = "" if {*names} == everything else f" ({_briefly(list(names))})"
        notes.append(f"{title}{whose}: {text}" + ("" if text.endswith(".") else "."))
    return notes


def _briefly(names: list[str]) -> str:
    """`file:one`, `file:two` -> `file`: one, two."""
    files: dict[str, list[str]] = {}
    for name in names:
        file, _, rest = name.partition(":")
        files.setdefault(file, []).append(rest)
    return "; ".join(
        f"`{file}`" + (f": {', '.join(r or 'as it is' for r in rests)}" if any(rests) else "")
        for file, rests in files.items()
    )


def _commands(rows: list[dict]) -> list[str]:
    commands = dict.fromkeys(part for row in rows for part in row["command"].split(" && "))
    listed = [f"    {command}" for command in commands]
    return ["<details><summary>Commands</summary>", "", *listed, "", "</details>", ""]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def summary(row: dict) -> tuple[str, str, str, str]:
    """What was measured, the reference, the difference and the time, as a table shows them."""
    value, reference = row["value"], row["reference"]
    measured, difference, time = row["status"], "", ""
    if value is not None:
        measured = f"{console.figure(row)} {row['unit']} (n={row['n']:,})"
        if row["worst"] is not None:
            measured += f", worst {console.figure(row | {'value': row['worst']}).partition(' ')[0]}"
        time = _time(row)
        if reference is not None:
            difference = f"{value - reference:+.3g}"
    return measured, "" if reference is None else f"{reference:g}", difference, time


def _time(row: dict) -> str:
    seconds = row["wall_clock_s"] or 0
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def write_page() -> None:
    """docs/results.md from results/."""
    files.write_whole(ROOT / "docs" / "results.md", render(ROOT / "results"))


if __name__ == "__main__":
    write_page()
