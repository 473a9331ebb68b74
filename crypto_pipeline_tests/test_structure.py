"""The shape of the package: rooms, sizes, names and imports, so that a reader finds their way by names alone.

The layers between rooms are import-linter contracts in pyproject.toml; here are the rules that it cannot state.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from crypto_pipeline_tests.builders.places import PROJECT

PACKAGE = PROJECT / "crypto_pipeline"
FILES = sorted(PACKAGE.rglob("*.py"))
#: Functions that stay long: compiled loops, which cost speed when they are split.
LONG_FUNCTIONS = {"comoments", "line", "moments", "follow"}
#: Documents that are not in the repository, and so must not be cited.
ABSENT = re.compile(r"\b(DESIGN|DEFINITIONS|MEASUREMENTS|VENUES|LAYOUT|CASES)\b(\.md|\s*§|,? section)")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


@pytest.mark.parametrize("package", [path for path in FILES if path.name == "__init__.py"], ids=name)
def test_every_package_says_what_belongs_there(package: Path) -> None:
    assert len((ast.get_docstring(tree(package)) or "").split()) >= 5


def test_every_module_can_be_imported() -> None:
    """In a process of its own: some modules of programs change how that process imports."""
    modules = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if path.name not in ("__main__.py", "guard.py")
    ]
    program = "import importlib, sys; [importlib.import_module(module) for module in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", program, *modules], check=True, timeout=120)


@pytest.mark.parametrize("package", [path for path in FILES if path.name == "__init__.py"], ids=name)
def test_a_package_exports_what_it_says_and_hides_none_of_it_behind_a_module(package: Path) -> None:
    module = importlib.import_module(".".join(package.parent.relative_to(PROJECT).parts))
    exported = set(getattr(module, "__all__", ()))
    assert [each for each in exported if getattr(module, each, None) is None] == []
    below = {path.stem for path in package.parent.iterdir()}
    assert exported & below == set(), "importing that module would put it in the place of the export"
