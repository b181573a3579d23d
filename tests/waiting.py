"""Waits for what a program does, and never for how long it takes: the machine may be busy."""

import time
from collections.abc import Callable
from subprocess import Popen

# Seconds after which a program hangs, whatever else the machine does.
HANGS = 1_200


def until(condition: Callable[[], object], *processes: Popen, pause: float = 0.01):
    """Waits for a condition -> its value, while all the processes that could meet it run."""
    start = time.monotonic()
    while not (value := condition()):
        ended = [process.args for process in processes if process.poll() is not None]
        assert not ended, f"ended before it was so: {ended}"
        assert time.monotonic() - start < HANGS, "it hangs"
        time.sleep(pause)
    return value
