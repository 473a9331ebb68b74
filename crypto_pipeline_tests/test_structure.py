"""The shape of the package: rooms, sizes, names and imports, so that a reader finds their way by names alone.

The layers between rooms are import-linter contracts in pyproject.toml; here are the rules that it cannot state.
"""

from __future__ import annotations

import ast
import importlib
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from crypto_pipeline_tests.builders.places import PROJECT

PACKAGE = PROJECT / "crypto_pipeline"
FILES = sorted(PACKAGE.rglob("*.py"))
#: Functions that stay long: compiled loops, which cost speed when they are split, and an exchange with many options.
LONG_FUNCTIONS = {
    "crypto_pipeline/arrays/rolling_loops.py:comoments",
    "crypto_pipeline/arrays/rolling_loops.py:line",
    "crypto_pipeline/arrays/rolling_loops.py:moments",
    "crypto_pipeline/labels/kernels.py:follow",
    "crypto_pipeline/replay/server/exchange.py:__init__",
}
#: Documents that are not in the repository, and so must not be cited.
ABSENT = re.compile(r"\b(DESIGN|DEFINITIONS|MEASUREMENTS|VENUES|LAYOUT|CASES)\b(\.md|\s*§|,? section)")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("crypto_pipeline")
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    folders = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {name(folder): files for folder, files in folders.items() if files > 15} == {}


def test_no_public_class_has_the_name_of_another() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name(path))
    assert {each: paths for each, paths in places.items() if len(paths) > 1} == {}


def test_modules_are_short() -> None:
    sizes = {name(path): lines(path) for path in FILES}
    assert statistics.median(sizes.values()) <= 120
    assert {path: size for path, size in sizes.items() if size > 350} == {}


def test_functions_fit_on_a_screen() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = node.body[0] if ast.get_docstring(node) is not None else None
                told = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
                size = (node.end_lineno or 0) - node.lineno + 1 - told
                if size > 40:
                    long[f"{name(path)}:{node.name}"] = size
    assert long.keys() == LONG_FUNCTIONS


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


def test_only_documents_of_the_repository_are_cited() -> None:
    tracked = [*FILES, *PROJECT.glob("docs/*.md"), PROJECT / "README.md", *PROJECT.glob("sql/*.sql")]
    assert [name(path) for path in tracked if ABSENT.search(path.read_text("utf-8"))] == []
