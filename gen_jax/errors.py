"""The one exception that is meant for the user."""

import contextlib
import sys
from collections.abc import Iterator


class UserError(Exception):
    """Bad input. Its message is one clear line that names the fix.

    The command line prints it without a traceback and exits non-zero. Everything else that is
    raised is a bug of ours and keeps its traceback.
    """


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """For a module that is a command of its own: a `UserError` ends it as `launch.py` would."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
