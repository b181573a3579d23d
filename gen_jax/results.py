"""Measured rows behind the tables of the docs.

`results/TABLE.json` lists a table's rows. What is known before a measurement (reference,
source, protocol, deviation, command) is written there by hand, with status "not run" and no
value. `launch.py evaluate --record=TABLE` fills in the rest, so no measured figure is typed.
`python -m gen_jax.results` writes docs/results.md from them.
"""

import difflib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import files, logs
from gen_jax.checkpoints import Checkpoints
from gen_jax.errors import UserError
from gen_jax.evaluation.metric import Metric

ROOT = Path(__file__).parents[1]
FIELDS = (
    *("row", "metric", "value", "stderr", "unit", "n", "seeds", "worst"),
    *("reference", "source", "protocol"),
    *("deviation", "hardware", "wall_clock_s", "command", "commit", "status"),
)


# Metrics whose worst value over several seeds is the largest; of all others it is the smallest.
_LOWER_IS_BETTER = ("nll", "nll_ais", "bits_per_dim", "nats_per_character", "distortion", "mse")
_LOWER_IS_BETTER += ("kl", "reverse_kl", "kl_to_train", "fid", "kid", "intra_fid", "ndb")

# What a command line may change in a run that is recorded: no figure depends on it.
_HARMLESS = (*config_lib.WHERE_DATA_ARE, "data.resident_limit_mb", "eval.batch_size")
_HARMLESS += ("log_every", "checkpoint_every", "keep_checkpoints", "steps_per_dispatch", "trackers")


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
    for argument in config.overrides:
        key = argument.partition("=")[0].removeprefix("--config.")
        if key not in _HARMLESS:
            raise UserError(
                f"--record: this run was changed by {argument}, and a row is of its experiment as "
                "it stands; record a run without it, in a --workdir of its own"
            )
    if config.replica_values:
        raise UserError("--record: the replicas differ in more than their seed (replica_values)")
    if replica is not None:
        raise UserError(f"--record: a row has all replicas of a run; leave out --replica={replica}")
    step = max(Checkpoints(workdir / "checkpoints").steps(), default=0)
    if step < config.steps:
        raise UserError(
            f"--record: the run stands at step {step:,} of {config.steps:,}; train it to its end"
        )


def record(
    path: Path, config: ConfigDict, figures: dict[str, Metric], seconds: float
) -> list[dict]:
    """Fills in the rows that a run measures, in place, and returns them.

    Args:
      path: `results/TABLE.json`.
      config: of the run; its `experiment` names the row.
      figures: what was measured.
      seconds: training time.

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
            "hardware": hardware(),
            "wall_clock_s": round(seconds),
            "commit": commit(),
            "status": "measured",
        }
    write(path, rows)
    return filled


def print_rows(table: str) -> None:
    """The rows of a table on the console: what was measured, and how long training took."""
    rows = read(ROOT / "results" / f"{table}.json")
    cells = [(row["row"], row["metric"], *summary(row)) for row in rows]
    columns = ("row", "metric", "measured", "reference", "difference", "time")
    logs.print_table(f"table {table}", columns, cells)
    print(f"to measure: python launch.py reproduce --table={table} --rows=ROW,ROW")


def configs(table: str, names: Sequence[str]) -> list[str]:
    """The experiments (`FILE.py:ARGUMENT`) of some of a table's rows.

    Raises:
      UserError: if a row is not in the table, or is measured otherwise.
    """
    rows = read(ROOT / "results" / f"{table}.json")
    commands = {row["row"]: row["command"] for row in rows}
    folder, found = Path(os.path.relpath(ROOT / "experiments")), []
    for name in names:
        if name not in commands:
            raise _no_row(table, name, rows)
        file, colon, argument = name.partition(":")
        if not (folder / f"{file}.py").exists():
            raise UserError(f"row {name!r} is no experiment; it is measured by {commands[name]}")
        found.append(f"{folder / file}.py{colon}{argument}")
    return found


def _no_row(table: str, name: str, rows: list[dict]) -> UserError:
    """The error about a row that a table does not have."""
    close = difflib.get_close_matches(name, dict.fromkeys(row["row"] for row in rows), 3)
    listed = f"python launch.py reproduce --table={table} lists them"
    hint = f"did you mean {' or '.join(close)}?" if close else listed
    return UserError(f"table {table!r} has no row {name!r}; {hint}")


def _rows(path: Path, config: ConfigDict) -> tuple[list[dict], list[dict]]:
    """All rows of a table, and those among them that a run is of."""
    rows = read(path)
    file, _, argument = config.experiment.partition(":")
    name = Path(file).stem + (f":{argument}" if argument else "")
    own = [row for row in rows if row["row"] == name]
    if not own:
        raise _no_row(path.stem, name, rows)
    return rows, own


def _worst(name: str, figure: Metric) -> float | None:
    if not figure.each:
        return None
    return round(max(figure.each) if name in _LOWER_IS_BETTER else min(figure.each), 4)


def hardware() -> str:
    """For example "CPU, 2 cores" or "8 x NVIDIA H200"."""
    device, count = jax.devices()[0], jax.device_count()
    if device.platform == "cpu":
        return f"CPU, {os.cpu_count()} cores"
    return device.device_kind if count == 1 else f"{count} x {device.device_kind}"


def commit() -> str:
    """The commit of the code, with a plus if it has been changed since; "" without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def render(folder: Path) -> str:
    """docs/results.md of the tables in a folder."""
    lines = [
        "# Results",
        "",
        "Written by `python -m gen_jax.results` from `results/`. A figure is the mean over `n`",
        "test examples or samples ± its standard error; with several seeds it is their mean ± the",
        "standard error over them, and the worst of them stands beside it. Difference is measured",
        "minus reference. Time is the wall clock of training, other work beside it and pauses",
        "included: an upper bound.",
    ]
    for path in sorted(folder.glob("*.json")):
        lines += ["", f"## {path.stem}", ""]
        lines.append(
            "| row | metric | measured | reference | difference | seeds | hardware | time |"
        )
        lines.append("|---|---|---|---|---|---|---|---|")
        rows = read(path)
        lines += [_line(row) for row in rows]
        for name in dict.fromkeys(row["row"] for row in rows):
            same = [row for row in rows if row["row"] == name]
            lines += ["", f"**{name}.**"]
            for key, label in (
                ("protocol", ""),
                ("deviation", "Deviation: "),
                ("source", "Reference: "),
            ):
                lines += [label + text for text in dict.fromkeys(r[key] for r in same) if text]
            for command in dict.fromkeys(row["command"] for row in same):
                lines += ["", *(f"    {part}" for part in command.split(" && "))]
    return "\n".join(lines) + "\n"


def summary(row: dict) -> tuple[str, str, str, str]:
    """What was measured, the reference, the difference and the time, as a table shows them."""
    value, reference = row["value"], row["reference"]
    measured, difference, time = row["status"], "", ""
    if value is not None:
        measured = f"{logs.figure(row)} {row['unit']} (n={row['n']:,})"
        if row["worst"] is not None:
            measured += f", worst {logs.figure(row | {'value': row['worst']}).partition(' ')[0]}"
        time = f"{row['wall_clock_s'] / 60:.0f} min"
        if reference is not None:
            difference = f"{value - reference:+.3g}"
    return measured, "" if reference is None else f"{reference:g}", difference, time


def _line(row: dict) -> str:
    *figures, time = summary(row)
    seeds = ", ".join(map(str, row["seeds"] or []))
    cells = (row["row"], row["metric"], *figures, seeds, row["hardware"], time)
    return f"| {' | '.join(cells)} |"


def write_page() -> None:
    """docs/results.md from results/."""
    files.write_whole(ROOT / "docs" / "results.md", render(ROOT / "results"))


if __name__ == "__main__":
    write_page()
