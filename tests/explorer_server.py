"""Serves the page of runs as `launch.py explore` does."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cli


def command(workdirs: tuple[Path, ...], port: int) -> list[str]:
    names = ",".join(map(str, workdirs))
    return [sys.executable, "launch.py", "explore", f"--workdir={names}", f"--port={port}"]


def environment() -> dict[str, str]:
    # With this NiceGUI takes the process for a test of its own.
    return {k: v for k, v in cli.environment().items() if k != "PYTEST_CURRENT_TEST"}


@contextlib.contextmanager
def explorer(*workdirs: Path) -> Iterator[tuple[int, subprocess.Popen]]:
    """The port of a page of some runs, and its process, which is interrupted at the end."""
    port = cli.free_port()
    process = subprocess.Popen(
        command(workdirs, port),
        cwd=cli.ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        told, lines = f"explore at http://127.0.0.1:{port}", []
        for line in process.stdout:
            lines.append(line)
            if told in line:
                break
        assert lines and told in lines[-1], "".join(lines)
        yield port, process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
