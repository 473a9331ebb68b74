"""Errors as people see them: one line that names the value and the fix, and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

#: The command failed: something is down, broken or refused.
FAILED = 1
#: The input or a setting is invalid; a second try fails as well.
USAGE = 2
#: Nothing runs (``status``).
NOT_RUNNING = 3
INTERRUPTED = 130


class BadInput(Exception):  # noqa: N818  (reads as the fact it states)
    """The input of a person is invalid; the message names the value and says what is valid."""


def exit_code(error: BaseException) -> int:
    """Print the error on stderr and return its exit code."""
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader (`head`) closed the pipe. Python would report that again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if os.environ.get("CRYPTO_PIPELINE_DEBUG"):
        traceback.print_exception(error)
    else:
        print(f"error: {one_line(error)}", file=sys.stderr)
    return USAGE if _is_usage(error) else FAILED


def one_line(error: BaseException) -> str:
    """The message without line breaks; errors of libraries also with their type and the option for a traceback."""
    if (format_message := getattr(error, "format_message", None)) is not None:  # of the command line parser
        return _joined(format_message())
    if _is_ours(error):
        return _joined(str(error))
    known = _well_known(error)
    return known or f"{type(error).__name__}: {_joined(str(error))} (the traceback: repeat with --debug)"


def _well_known(error: BaseException) -> str | None:
    module = type(error).__module__
    if module.startswith("psycopg"):
        return f"the database reports an error: {_joined(str(error))}; see `crypto-pipeline status`"
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("crypto_pipeline"):
        return f"{error.name} is not installed: this command needs `pip install 'crypto-pipeline[server]'`"
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror.lower()}:{where or ' ' + _joined(str(error))}"
    return None


def _is_ours(error: BaseException) -> bool:
    return any(kind.__module__.startswith("crypto_pipeline.") for kind in type(error).__mro__)


def _is_usage(error: BaseException) -> bool:
    return isinstance(error, BadInput) or type(error).__name__ == "SettingsError" or hasattr(error, "format_message")


def _joined(text: str) -> str:
    return " ".join(text.split())
