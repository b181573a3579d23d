"""The one exception that is meant for the user."""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence


class UserError(Exception):
    """Bad input. Its message is one clear line that names the fix.

    The command line prints it without a traceback and exits non-zero. Everything else that is
    raised is a bug of ours and keeps its traceback.

    Args:
      message: the line.
      *details: lines below it, where there is a list to tell.
    """

    def __init__(self, message: str, *details: str):
        super().__init__("\n  ".join((message, *details)))
        self.message, self.details = message, details

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: what it says, and not where in this package."""
        return [f"UserError: {self}"]


def first(lines: Sequence[str], number: int) -> list[str]:
    """The first few, and how many more there are."""
    more = len(lines) - number
    return [*lines[:number], f"and {more} more"] if more > 0 else list(lines)


def as_line(error: Exception) -> str:
    """An error that is survived, as a warning tells it: what it says, and where if it is a bug."""
    said = " ".join(str(error).split())[:300]
    if isinstance(error, UserError):
        return said
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {said} ({at.filename}:{at.lineno})"


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """For a module that is a command of its own: a `UserError` ends it as `launch.py` would."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
