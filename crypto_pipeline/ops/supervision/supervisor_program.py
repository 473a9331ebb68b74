"""supervisord, run as ``python -m crypto_pipeline.ops.supervision.supervisor_program``, with two changes.

Programs in Python are forked from it: see ``forked_programs``. And a full disk does not end it. Unchanged, supervisord
writes a line that it cannot log to its error output. If that is on the same full disk, supervisord ends, and all
programs with it. With this module only the line is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supervisor import loggers, supervisord
from supervisor.options import ServerOptions
from supervisor.process import Subprocess

from crypto_pipeline.ops.supervision.forked_programs import Forks, ModuleCommand


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


def fork_programs(forks: Forks) -> None:
    """Make supervisord run modules of this interpreter as copies of itself, not as new programs."""
    spawn, execute = Subprocess.spawn, ServerOptions.execve

    def prepared(self: Subprocess) -> Any:
        if ModuleCommand.parse(self.get_execv_args()[1]) is not None:
            forks.prepare()
        return spawn(self)

    def forked(self: ServerOptions, filename: str, arguments: list[str], environment: dict[str, str]) -> None:
        forks.run(arguments, environment)
        execute(self, filename, arguments, environment)

    Subprocess.spawn, ServerOptions.execve = prepared, forked


def main() -> None:
    """Run supervisord with the arguments of the command line."""
    fork_programs(Forks())
    loggers.Handler.handleError = _lose_the_line
    loggers.RotatingFileHandler.doRollover = _roll_over_if_possible
    supervisord.main()


if __name__ == "__main__":
    main()
