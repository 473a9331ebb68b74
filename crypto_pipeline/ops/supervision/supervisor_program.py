"""supervisord, run as ``python -m crypto_pipeline.ops.supervision.supervisor_program``: a full disk does not end it.

Unchanged, supervisord writes a line that it cannot log to its error output. If that is on the same full disk,
supervisord ends, and all programs with it. With this module only the line is lost.
"""

from __future__ import annotations

from pathlib import Path

from supervisor import loggers, supervisord


def _lose_the_line(self: loggers.Handler) -> None:
    """Drop a line that cannot be written."""


_roll_over = loggers.RotatingFileHandler.doRollover


def _roll_over_if_possible(self: loggers.RotatingFileHandler) -> None:
    try:
        if self.stream.closed:  # an earlier attempt ended half way
            self.stream = Path(self.baseFilename).open("ab")  # noqa: SIM115  (it stays open)
        _roll_over(self)
    except OSError:
        pass  # tried again with the next line


def main() -> None:
    """Run supervisord with the arguments of the command line."""
    loggers.Handler.handleError = _lose_the_line
    loggers.RotatingFileHandler.doRollover = _roll_over_if_possible
    supervisord.main()


if __name__ == "__main__":
    main()
