"""Seconds from `python launch.py` to the first training steps, with and without a compile cache.

python -m benchmarks.startup
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import contest
from benchmarks import rows as rows_lib
from benchmarks.__main__ import TABLE
from gen_jax.report import results

ROUNDS = 5
STEPS = "10"


def seconds(cache: Path, workdir: Path) -> float:
    """Of one start, until the first row of the log; the run is killed then."""
    command = [sys.executable, "launch.py", "train", f"--workdir={workdir}"]
    command += [f"--config.{key}={STEPS}" for key in ("steps_per_dispatch", "log_every")]
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=results.ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    log = workdir / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size):
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        time.sleep(0.01)
    taken = time.perf_counter() - start
    process.kill()
    process.wait()
    return taken


def main() -> None:
    start = time.monotonic()
    taken = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for name, each in taken.items():
                cache, workdir = Path(folder) / f"cache_{number}", Path(folder) / f"{name}_{number}"
                each.append(seconds(cache, workdir))
    made = []
    for name, each in taken.items():
        made.append(
            rows_lib.measured(
                *contest.median_and_spread(each),
                row=f"startup:{rows_lib.platform()}",
                metric=f"{name}_seconds",
                unit="s",
                n=ROUNDS,
                protocol="The quickstart until its tenth step is logged, with an empty compile "
                "cache and with a filled one. Median ± half the quartiles' distance.",
                wall_clock_s=round(time.monotonic() - start),
                command="python -m benchmarks.startup",
            )
        )
    rows_lib.show(made)
    rows_lib.write(TABLE, made)


if __name__ == "__main__":
    main()
