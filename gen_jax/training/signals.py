"""SIGTERM and Ctrl-C ask a run to save and stop; it does so at the next safe moment."""

import contextlib
import dataclasses
import signal
from collections.abc import Iterator


class Stopped(Exception):
    """A run was asked to stop, and has saved its state.

    Attributes:
      signum: the signal.
      step: the step that was saved.
    """

    def __init__(self, signum: int, step: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} at step {step:,}; saved")
        self.signum, self.step = signum, step


@dataclasses.dataclass
class Request:
    """The signal that came, 0 for none."""

    requested: int = 0


@contextlib.contextmanager
def catch() -> Iterator[Request]:
    """Within it SIGTERM and the first Ctrl-C are noted; a second Ctrl-C interrupts at once."""
    request = Request()

    def note(signum, frame):
        if request.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        request.requested = signum

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
