"""The one exception that is meant for the user."""


class UserError(Exception):
    """Bad input. Its message is one clear line that names the fix.

    The command line prints it without a traceback and exits non-zero. Everything else that is
    raised is a bug of ours and keeps its traceback.
    """
