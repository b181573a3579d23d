"""Where a run's figures come from: `provenance.jsonl` of its workdir, a row for each command."""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from gen_jax import files, parallel

FILE = "provenance.jsonl"
_PACKAGES = ("gen_jax", "jax", "jaxlib", "flax", "optax", "numpy")
_MAX_ROWS, _MAX_BYTES = 10_000, 2**24


def start(workdir: Path, kind: str, **facts: Any) -> None:
    """Adds a row for a command that begins.

    Args:
      workdir: of the run.
      kind: "train" or "evaluate".
      **facts: what else there is to know, as JSON has it.
    """
    row = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kind": kind,
        "command": command(),
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
        "devices": parallel.num_devices(),
        "processes": jax.process_count(),
        **facts,
    }
    with open(workdir / FILE, "a") as file:
        file.write(json.dumps(row) + "\n")


def read(workdir: Path) -> list[dict[str, Any]]:
    """The rows; those that are damaged are left out."""
    path = workdir / FILE
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return []
    rows = []
    for line in path.read_bytes().splitlines()[-_MAX_ROWS:]:
        try:
            row = files.parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("kind"), str):
            rows.append(row)
    return rows


def hardware_of_training(workdir: Path) -> str:
    """What a run was trained on last; what this process has where the run does not say."""
    rows = [row for row in read(workdir) if row["kind"] == "train"]
    return str(rows[-1].get("hardware", "")) if rows else hardware()


def command() -> str:
    """What this process was started by."""
    name = Path(sys.argv[0]).name
    if name not in ("launch.py", "gen-jax", "__main__.py"):
        return "from Python"
    start = {"launch.py": "python launch.py", "gen-jax": "gen-jax"}.get(name, "python -m gen_jax")
    return " ".join([start, *map(shlex.quote, sys.argv[1:])])


def versions() -> dict[str, str]:
    """Of Python, of this package and of those that compute."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from the repository
            found[name] = "not installed"
    return found


def hardware() -> str:
    """For example "CPU, 2 cores" or "8 x NVIDIA H200"."""
    device, count = jax.devices()[0], parallel.num_devices()
    if device.platform == "cpu":
        return f"CPU, {os.cpu_count()} cores"
    return device.device_kind if count == 1 else f"{count} x {device.device_kind}"


def commit() -> str:
    """The commit of the code, with a plus if it has been changed since; "" without git."""
    root = files.own_folder()

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        except OSError:  # there is no git
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if not (root / ".git").exists():  # a package within some other repository
        return ""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
