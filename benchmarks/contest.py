"""Interleaved timing of contestants, each in a process of its own."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
ROUND_SECONDS = 1.0  # of each contestant in each round


class Contestant:
    """A process that waits for its turn: only one of them works at a time."""

    def __init__(self, work: str, name: str):
        command = [sys.executable, "-m", "benchmarks.contest", work, name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, cwd=ROOT, **pipes)
        self.name = name
        self.count = 1

    def begin(self, count: int) -> None:
        """Starts doing the work `count` times."""
        # A process that has died is noticed by `end`.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()

    def end(self) -> float:
        """Seconds that it took.

        Raises:
          RuntimeError: if the process has died; its messages are on stderr.
        """
        for line in self._process.stdout:
            if line.startswith('{"seconds"'):
                return json.loads(line)["seconds"]
        raise RuntimeError(f"{self.name} died with exit code {self._process.wait()}")

    def time(self, count: int) -> float:
        """Seconds for doing the work `count` times."""
        self.begin(count)
        return self.end()

    def choose_count(self) -> None:
        """Finds how often the work fits into a round."""
        seconds = self.time(1)
        while seconds < ROUND_SECONDS / 4:
            self.count *= 2
            seconds = self.time(self.count)
        self.count = max(1, round(self.count * ROUND_SECONDS / seconds))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The spread is half the distance of the quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return float(median), float(high - low) / 2


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of one time of the work, [rounds], of each contestant in the same rounds."""

    seconds: dict[str, np.ndarray]

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))

    def ratio(self, name: str, reference: str) -> tuple[float, float]:
        """How many times faster `name` is, in the same rounds, and the spread."""
        return median_and_spread(self.seconds[reference] / self.seconds[name])


def compete(work: str, names: Sequence[str], rounds: int) -> Times:
    """Times contestants in turns; the order is reversed in every other round."""
    contestants = [Contestant(work, name) for name in names]
    try:
        for contestant in contestants:
            contestant.begin(1)  # all of them compile at the same time
        for contestant in contestants:
            contestant.end()
        for contestant in contestants:
            contestant.choose_count()
        seconds = {name: [] for name in names}
        for number in range(rounds):
            for contestant in contestants[:: 1 if number % 2 == 0 else -1]:
                taken = contestant.time(contestant.count)
                seconds[contestant.name].append(taken / contestant.count)
    finally:
        for contestant in contestants:
            contestant.close()
    return Times({name: np.array(values) for name, values in seconds.items()})


def _serve(work: str, name: str) -> None:
    from benchmarks import work as work_lib

    run = work_lib.find()[work].contestants[name]()
    for line in sys.stdin:
        start = time.perf_counter()
        run(int(line))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
