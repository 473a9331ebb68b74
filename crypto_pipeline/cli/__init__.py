"""The command line: what a person types, and how answers and errors look to them and to programs.

Here belongs parsing, printing, progress and exit codes. Work does not: every command calls the core or ops. Modules
import heavy things inside commands, so that ``crypto-pipeline --help`` is there at once.
"""

from crypto_pipeline.cli.app import main

__all__ = ["main"]
