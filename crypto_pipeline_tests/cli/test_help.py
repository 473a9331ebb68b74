"""``--help`` says everything, at once: it loads nothing that only commands need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "polars",
    "numpy",
    "pyarrow",
    "psycopg",
    "sqlalchemy",
    "dagster",
    "httpx",
    "rich.markdown",
    "numba",
    "ccxt",
    "lightgbm",
}
#: Runs the program and prints, after all it says, a line with the names of the modules that are loaded.
_LOADED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules))
from crypto_pipeline.cli import main
main()
"""


def asked(*arguments: str) -> str:
    command = [sys.executable, "-c", _LOADED, *arguments, "--help"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize("arguments", [(), ("up",), ("backfill",), ("backup",), ("backup", "verify")], ids=" ".join)
def test_help_loads_no_package_that_only_commands_need(arguments: tuple[str, ...]) -> None:
    *text, modules = asked(*arguments).splitlines()
    assert text[0].startswith("Usage: crypto-pipeline")
    assert HEAVY & set(modules.split()) == set()


def test_the_list_of_commands_says_whole_sentences() -> None:
    text, _, _ = asked().rpartition("\nsys ")
    commands = text[text.index("Commands:") :]
    assert "…" not in commands
    assert "..." not in commands
    for name in ("up", "down", "status", "backfill", "backup", "training-set", "archive"):
        assert f"\n  {name} " in commands
