"""Runs an example as a person does: a script as a program, a notebook in a kernel of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crypto_pipeline_tests.builders.places import PROJECT

EXAMPLES = PROJECT / "examples"
#: Seconds for one example; what hangs is found, however busy the machine is.
HUNG = 240.0


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of this process without settings of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTO_PIPELINE_", "DAGSTER_"))}
    return {**kept, "MPLBACKEND": "agg", "COLUMNS": "160", **more}


def run_script(name: str, *arguments: str, environment: dict[str, str], folder: Path) -> str:
    """What a script prints, run in ``folder``; fails where it does not end well or warns."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(EXAMPLES / name), *arguments],
        env=clean_environment(**environment), cwd=folder, capture_output=True, text=True, timeout=HUNG, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", done.stderr
    return done.stdout


@dataclass(frozen=True)
class Shown:
    """What one cell shows, as text and as HTML."""

    text: str
    html: str


def run_notebook(name: str, *, environment: dict[str, str], folder: Path) -> str:
    """Everything that the cells of a notebook show as text, run in ``folder``; fails where one raises."""
    import nbformat

    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    return "\n".join(cell.text for cell in _executed(notebook, environment, folder))


def run_cells(cells: Sequence[str], *, environment: dict[str, str], folder: Path) -> list[Shown]:
    """What each of these cells shows, run one after the other in one kernel."""
    from nbformat import v4

    return _executed(v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells]), environment, folder)


def _executed(notebook: Any, environment: dict[str, str], folder: Path) -> list[Shown]:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[test]'")
    from jupyter_client.manager import KernelManager

    client = nbclient.NotebookClient(
        notebook, km=KernelManager(), timeout=int(HUNG), resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=clean_environment(**environment))
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    return [Shown("".join(map(_text, each)), "".join(map(_html, each))) for each in outputs]


def _text(output: Any) -> str:
    """One output of a cell. What is written to stderr (a warning, a message) is a fault of the example."""
    if output.output_type == "stream":
        assert output.name == "stdout", output.text
        return str(output.text)
    return f"{output.data.get('text/plain', '')}\n"


def _html(output: Any) -> str:
    return "" if output.output_type == "stream" else str(output.data.get("text/html", ""))
