"""The page of invariants: every invariant is there, every test it names exists, and code cites nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import crypto_pipeline
import crypto_pipeline_tests

TESTS = Path(crypto_pipeline_tests.__file__).parent
PACKAGE = Path(crypto_pipeline.__file__).parent
ROOT = TESTS.parent
PAGE = (ROOT / "docs" / "invariants.md").read_text()
SECTIONS = dict(re.findall(r"^## (I\d+)\. .*?\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))
#: Documents that are not in the repository, as they would be cited.
ABSENT = re.compile(r"\b(DESIGN|DEFINITIONS|LAYOUT|CASES|MEASUREMENTS|VENUES)(\.md\b|\s*§|\s+[A-Z]?\d)")


def defined_in(path: Path) -> set[str]:
    """Names of the functions of a module, those of its classes, and what it assigns (state machines' test cases)."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    return functions | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def test_every_invariant_has_its_section_and_tests() -> None:
    assert list(SECTIONS) == [f"I{number}" for number in range(1, 13)]
    for name, text in SECTIONS.items():
        assert re.search(r"^- `\S+::\S+`$", text, flags=re.M), f"{name} names no test"


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"^- `(\S+)::(\S+)`$", PAGE, flags=re.M)
    missing = [f"{path}::{test}" for path, test in named if test not in defined_in(TESTS / path)]
    assert not missing


def test_every_file_with_such_a_test_says_which_invariants_it_guards() -> None:
    for name, text in SECTIONS.items():
        for path in set(re.findall(r"^- `(\S+)::", text, flags=re.M)):
            guards = re.search(r"Guards (.*)\.", ast.get_docstring(ast.parse((TESTS / path).read_text())) or "")
            assert guards is not None, path
            assert name in re.findall(r"I\d+", guards[1]), f"{path} does not say at its top that it guards {name}"


def test_code_cites_only_what_is_there() -> None:
    for path in [
        *PACKAGE.rglob("*.py"),
        *TESTS.rglob("*.py"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "sql").glob("*.sql"),
    ]:
        text = path.read_text()
        cited = set(re.findall(r"[Ii]nvariants? (I\d+)", text))
        assert cited <= SECTIONS.keys(), path
        if path != Path(__file__):
            found = ABSENT.search(text)
            assert found is None, f"{path} refers to {found.group(0)!r}, which is not in the repository"
