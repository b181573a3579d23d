"""Rows of results/speed.json and results/scaling.json, made by measurements alone."""

from pathlib import Path

import jax

from gen_jax.report import results
from gen_jax.workdir import console, provenance


def platform() -> str:
    """ "cpu", "gpu" or "tpu": the end of a row's name."""
    return jax.devices()[0].platform


def measured(value: float, stderr: float | None, **fields) -> dict:
    """A row with the given fields, this machine and this commit."""
    given = {
        "value": float(f"{value:.4g}"),
        "stderr": None if stderr is None else float(f"{stderr:.2g}"),
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
        "status": "measured",
        **fields,
    }
    empty = {"seeds": [], "worst": None, "reference": None, "protocol": ""}
    empty |= {"source": "", "deviation": ""}
    return {field: (empty | given)[field] for field in results.FIELDS}


def merged(old: list[dict], new: list[dict]) -> list[dict]:
    """The old rows, those replaced that were measured anew, and the others after them."""
    newest = {(row["row"], row["metric"]): row for row in new}
    kept = [newest.pop((row["row"], row["metric"]), row) for row in old]
    return kept + list(newest.values())


def write(path: Path, new: list[dict]) -> None:
    """Puts measured rows into a table, and the table into docs/results.md."""
    old = results.read(path) if path.exists() else []
    results.write(path, merged(old, new))
    results.write_page()


def show(rows: list[dict]) -> None:
    """Prints measured rows."""
    lines = [(row["row"], row["metric"], console.figure(row), row["unit"]) for row in rows]
    console.print_table(provenance.hardware(), ("row", "metric", "measured", "unit"), lines)
