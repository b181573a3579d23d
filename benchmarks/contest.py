"""Interleaved timing of contestants, each in a process of its own."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.work import Runner

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "Median over interleaved rounds of several starts ± the larger of half the distance of the "
    "quartiles and half the range of the starts' medians."
)
ROUND_SECONDS = 1.0  # of each contestant in each round

# What starts a contestant: the arguments after `python -m`, and variables of its environment.
Command = tuple[Sequence[str], Mapping[str, str]]


class Contestant:
    """A process that waits for its turn: only one of them works at a time.

    Args:
      name: for messages.
      arguments: a Python module, which calls `serve`, and its arguments.
      environment: variables that it has beside this process's own.
    """

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]):
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=os.environ | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
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
    """Seconds of one time of the work, [starts, rounds], of each contestant in the same rounds."""

    seconds: dict[str, np.ndarray]

    def median(self, name: str) -> tuple[float, float]:
        """Over all rounds, and its spread."""
        return _over_starts(self.seconds[name])

    def ratio(self, name: str, reference: str) -> tuple[float, float]:
        """How many times faster `name` is, in the same rounds, and the spread."""
        return _over_starts(self.seconds[reference] / self.seconds[name])


def _over_starts(values: np.ndarray) -> tuple[float, float]:
    # The same program differs from one start of its process to the next (threads, memory) by more
    # than from round to round.
    median, spread = median_and_spread(values.reshape(-1))
    return median, max(spread, float(np.ptp(np.median(values, axis=1))) / 2)


def compete(commands: Mapping[str, Command], starts: int, rounds: int) -> Times:
    """Times contestants in turns: `rounds` rounds after each of `starts` starts."""
    each = [_compete_once(commands, rounds) for _ in range(starts)]
    return Times({name: np.array([once[name] for once in each]) for name in commands})


def _compete_once(commands: Mapping[str, Command], rounds: int) -> dict[str, list[float]]:
    """Seconds in each round; the order is reversed in every other one."""
    contestants = [Contestant(name, *command) for name, command in commands.items()]
    try:
        for contestant in contestants:
            contestant.begin(1)  # all of them compile at the same time
        for contestant in contestants:
            contestant.end()
        for contestant in contestants:
            contestant.choose_count()
        seconds = {name: [] for name in commands}
        for number in range(rounds):
            for contestant in contestants[:: 1 if number % 2 == 0 else -1]:
                taken = contestant.time(contestant.count)
                seconds[contestant.name].append(taken / contestant.count)
    finally:
        for contestant in contestants:
            contestant.close()
    return seconds


def serve(run: Runner) -> None:
    """A contestant's side: does the work as often as each line of stdin says."""
    for line in sys.stdin:
        start = time.perf_counter()
        run(int(line))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    from benchmarks import work as work_lib

    work, contestant = sys.argv[1:]
    serve(work_lib.find()[work].contestants[contestant]())
