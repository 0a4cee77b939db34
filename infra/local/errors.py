"""The one error that an operator sees: a line that says what is wrong and what to do about it."""


class CommandError(Exception):
    """Ends a command with its one line and exit code 1, without a traceback."""
