"""The command line: what a person types, and how answers and errors look to them and to programs.

Here belongs parsing, printing, progress and exit codes. Work does not: every command calls the core or ops. Modules
import heavy things inside commands, so that ``crypto-pipeline --help`` is there at once.
"""

from __future__ import annotations

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    from crypto_pipeline.cli.app import main as run

    run(arguments)
