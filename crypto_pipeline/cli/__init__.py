"""The command line: commands, their options, their output for people and programs, and their exit codes.

Parsing, printing, progress and exit codes belong here. The work itself does not: every command calls the core or
``ops``. Modules import heavy packages inside commands, so that ``crypto-pipeline --help`` answers quickly.
"""

from __future__ import annotations

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    from crypto_pipeline.cli.app import main as run

    run(arguments)
