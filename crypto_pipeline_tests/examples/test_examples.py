"""Every example runs as it stands, against a small deployment, and shows what is stored there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import psycopg
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.store import Store
from crypto_pipeline_tests.api.stream.test_stream import price
from crypto_pipeline_tests.builders.label_market import START, TIERS
from crypto_pipeline_tests.examples.conftest import DAYS, NOW, OUTAGE, RESTATED, SmallDeployment
from crypto_pipeline_tests.examples.running import EXAMPLES, HUNG, clean_environment, run_notebook, run_script

# bi_tool.py makes a role
pytestmark = pytest.mark.own_server
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


def test_point_in_time(deployment: SmallDeployment, tmp_path: Path) -> None:
    """Guards I2 (docs/invariants.md): before the venue stated a bar again, its first value was the truth."""
    shown = run_notebook("point_in_time.ipynb", environment=deployment.environment, folder=tmp_path)
    then, now = _numbers(r"(\d+) bars were known before .*, (\d+) are known now", shown)
    assert then == now
    assert 350 < int(now) <= 360
    (row,) = re.findall(r"│ (\S+ \S+ UTC) +┆ ([\d.]+) +┆ ([\d.]+) +│", shown)
    assert row[0] == f"{RESTATED:%Y-%m-%d %H:%M:%S} UTC"
    assert float(row[2]) - float(row[1]) == pytest.approx(0.25)
    assert "the same again: True" in shown


def test_training_set(deployment: SmallDeployment, tmp_path: Path) -> None:
    shown = run_notebook("training_set.ipynb", environment=deployment.environment, folder=tmp_path)
    setups, won = map(int, _numbers(r"(\d+) setups, (\d+) of them won", shown))
    learned, tested, left_out = map(int, _numbers(r"(\d+) rows to learn from, (\d+) to test on, (\d+) left out", shown))
    assert learned + tested + left_out == setups > won > 0
    assert min(learned, tested) > 50
    assert left_out > 0, "labels that reach into the test are purged"
    past, model = (float(score) for score in re.findall(r"│ (?:rate of the past|LightGBM) +┆ ([\d.]+)", shown))
    assert 0 < model < 0.5
    assert 0 < past < 0.5


def test_strategy_replay(deployment: SmallDeployment, tmp_path: Path) -> None:
    shown = run_notebook("strategy_replay.ipynb", environment=deployment.environment, folder=tmp_path)
    careful, trades = map(int, _numbers(r"(\d+) trades instead of (\d+)", shown))
    assert 0 < careful < trades
    assert f"{trades} trades, " in shown
    assert "data:image/png" in (tmp_path / "replay.html").read_text("utf-8")


def test_a_year_in_polars(deployment: SmallDeployment, tmp_path: Path) -> None:
    printed = run_script("year_in_polars.py", environment=deployment.environment, folder=tmp_path)
    minutes = DAYS * 1440
    assert f"{minutes} minutes in btc_1m.parquet" in printed
    with Reader(deployment.database_url) as reader:
        stored = reader.bars("BTC-USDT", "1m", start=START, end=NOW, columns=["open_time", "close"])
    assert pl.read_parquet(tmp_path / "btc_1m.parquet").select("open_time", "close").equals(stored)
    assert re.search(rf"│ 2025-06-01 00:00:00 UTC ┆ {minutes} +┆ ", printed)


def test_a_bi_tool(deployment: SmallDeployment, tmp_path: Path) -> None:
    printed = run_script("bi_tool.py", environment=deployment.environment, folder=tmp_path)
    with psycopg.connect(deployment.database_url) as connection:  # the role is the server's, which other tests share
        connection.execute("DROP OWNED BY dashboards")
        connection.execute("DROP ROLE dashboards")
    assert "candles of the last day: 95 rows" in printed
    assert "gainers and losers: 4 rows" in printed
    assert "  ETH-USDT, 1m, venue_outage, 1, 7" in printed
    assert "bars that were replaced: 1 rows" in printed
    assert (EXAMPLES / "bi_tool.sql").read_text("utf-8").count("-- name: ") == len(re.findall(r": \d+ rows", printed))
    assert "it cannot write: permission denied" in printed


def test_an_existing_dagster(deployment: SmallDeployment, tmp_path: Path) -> None:
    """By Dagster's own command, as a deployment loads the file."""
    command = ["-m", "dagster", "asset", "materialize", "-f", str(EXAMPLES / "existing_dagster.py")]
    done = subprocess.run(
        [sys.executable, *command, "--select", "daily_range", "--partition", "2025-06-10"],
        env=clean_environment(**deployment.environment), cwd=tmp_path,
        capture_output=True, text=True, timeout=HUNG, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    made = pl.read_parquet(tmp_path / "daily_range_2025-06-10.parquet").sort("instrument")
    with Reader(deployment.database_url) as reader:
        day = reader.bars(reader.symbols(), "1d", start="2025-06-10", end="2025-06-11").sort("instrument")
    assert made["instrument"].to_list() == sorted(TIERS)
    assert made["range"].to_list() == ((day["high"] - day["low"]) / day["open"]).to_list()


def test_the_live_stream(deployment: SmallDeployment, tmp_path: Path) -> None:
    """It shows what is stored, and then what changes."""
    command = [sys.executable, str(EXAMPLES / "live_stream.py"), deployment.api_url, "3"]
    at = round(NOW.timestamp() * 1000)
    with (
        Store(deployment.database_url) as store,
        subprocess.Popen(command, env=clean_environment(), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as program,
    ):
        assert program.stdout is not None
        store.live.flush("replay", prices=[price("BTC-USDT", 100.0, at)])
        first = {program.stdout.readline(), program.stdout.readline()}
        assert "snapshot: BTC-USDT 100\n" in first
        assert any(re.fullmatch(r"snapshot: 500 bars, newest 23:59 at [\d.]+\n", line) for line in first), first
        store.live.flush("replay", prices=[price("BTC-USDT", 101.5, at + 1000)])
        rest, _ = program.communicate(timeout=HUNG)
    assert rest == "delta: BTC-USDT 101.5\n"
    assert program.returncode == 0


def _numbers(pattern: str, shown: str) -> tuple[str, ...]:
    found = re.search(pattern, shown)
    assert found is not None, shown
    return found.groups()


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
    files = {path.name for path in EXAMPLES.rglob("*") if path.suffix in (".py", ".ipynb", ".sql")} - {"own_source.py"}
    tests = Path(__file__).read_text("utf-8")
    assert "own_source" in (Path(__file__).parent / "test_own_source.py").read_text("utf-8")
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert {name for name in files if f'"{name}"' not in tests} == set()
    assert {name for name in files if name not in listed} == set()
