"""Every example runs as it stands, against a small deployment, and shows what is stored there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from crypto_pipeline import Reader
from crypto_pipeline_tests.examples.conftest import OUTAGE, SmallDeployment
from crypto_pipeline_tests.examples.running import EXAMPLES, run_notebook, run_script

NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


def test_first_bars(deployment: SmallDeployment, tmp_path: Path) -> None:
    shown = run_notebook("first_bars.ipynb", environment=deployment.environment, folder=tmp_path)
    assert "Reader of postgresql://" in shown
    assert "shape: (96, 10)" in shown
    assert "start: naive time" in shown
    missing = re.search(r"│ (\d+)\s+┆ (\d+)\s+┆ (\d+)\s+│", shown)
    assert missing is not None
    expected, present, explained = map(int, missing.groups())
    assert (expected, explained) == (present + explained, 7)
    assert f"{OUTAGE[0]:%Y-%m-%d %H:%M}" in shown
    assert "venue_outage" in shown


def test_reading_from_another_machine(deployment: SmallDeployment, tmp_path: Path) -> None:
    addresses = deployment.database_url, deployment.api_url
    printed = run_script("another_machine.py", *addresses, environment={}, folder=tmp_path)
    closes = re.findall(r"newest close over .*: +([\d.]+)", printed)
    with Reader(deployment.database_url) as reader:
        assert [float(close) for close in closes] == [reader.bars("BTC-USDT", "1h", last=1)["close"][0]] * 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    notebook = json.loads((EXAMPLES / name).read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert "".join(notebook["cells"][0]["source"]).startswith("# "), "it says first what it is"


def test_every_example_is_run_and_listed() -> None:
    """A file that no test runs would be no example that works."""
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb", ".sql")}
    tests = Path(__file__).read_text("utf-8")
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert {name for name in files if f'"{name}"' not in tests} == set()
    assert {name for name in files if name not in listed} == set()
