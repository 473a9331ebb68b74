"""Runs an example as a person does: a script as a program, a notebook in a kernel of its own."""

from __future__ import annotations

import os
import subprocess
import sys
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


def run_notebook(name: str, *, environment: dict[str, str], folder: Path) -> str:
    """Everything that the cells of a notebook show as text, run in ``folder``; fails where one raises."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[test]'")
    import nbformat
    from jupyter_client.manager import KernelManager

    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    client = nbclient.NotebookClient(
        notebook, km=KernelManager(), timeout=int(HUNG), resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=clean_environment(**environment))
    return "\n".join(_text(output) for cell in notebook.cells for output in cell.get("outputs", ()))


def _text(output: Any) -> str:
    """One output of a cell. What is written to stderr (a warning, a message) is a fault of the example."""
    if output.output_type == "stream":
        assert output.name == "stdout", output.text
        return str(output.text)
    return str(output.data.get("text/plain", ""))
