"""Bad input gets one clear line that names the value and the fix, the right exit code and no traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crypto_pipeline.cli import main
from crypto_pipeline.market import Instrument
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.store import Store

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process on an empty data directory; returns exit code, stdout and stderr."""
    for name in list(os.environ):
        if name.startswith("CRYPTO_PIPELINE_") and name != "CRYPTO_PIPELINE_TEST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CRYPTO_PIPELINE_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(f"CRYPTO_PIPELINE_{name}", value)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def database(postgres_url: str) -> str:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT"), Instrument.crypto("ETH-USDT")])
    return postgres_url


def _one_line(err: str) -> str:
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["read", "BTC-USDT", "2m"], ["'2m'", "1m, 5m"]),
        (["read", "BTC-USDT", "1m", "--start", "yesterday"], ["'yesterday'", "2026-01-31T12:00Z"]),
        (["read", "BTC-USDT", "1m", "--start", "2026-01-31T12:00"], ["naive time 2026-01-31T12:00", "Z"]),
        (["read", "BTC-USDT", "1m", "--start", "2026-02-01", "--end", "2026-01-01"], ["2026-02-01", "exchange them"]),
        (["read", "BTC-USDT", "1m", "--as-of", "noon"], ["--as-of", "'noon'"]),
        (["read", "BTC-USDT", "1m", "--format", "xml"], ["'xml'", "parquet"]),
        (["backfill", "--timeframe", "1m,3m"], ["'3m'"]),
        (["backfill", "--start", "2026-02-01", "--end", "2026-02-01"], ["empty"]),
        (["reconcile", "--start", "31.01.2026"], ["'31.01.2026'"]),
        (["features", "verify", "--check", "leaks"], ["'leaks'", "no_leak"]),
        (["gaps", "list", "--state", "gone"], ["'gone'", "venue_outage"]),
        (["gaps", "reopen", "seven"], ["'seven'"]),
        (["up", "--venue", "mtgox"], ["'mtgox'", "binance"]),
        (["up", "--days", "0"], ["0", "greater than or equal to 1"]),
        (["up", "--ui-port", "http"], ["'http'"]),
        (["up", "--ui-port", "70000"], ["70000", "65535"]),
        (["up", "--instruments", "BTC-USDTT"], ["'BTC-USDTT'", "BTC-USDT"]),
        (["up", "--instruments", "100000"], ["100000"]),
        (["up", "--frobnicate"], ["--frobnicate"]),
        (["frobnicate"], ["'frobnicate'"]),
        (["instruments", "add", "BTCUSDT"], ["'BTCUSDT'", "BASE-QUOTE"]),
        (["replay", "fault", "{nonsense"], ["not JSON"]),
        (["replay", "fault", "nowhere.json"], ["'nowhere.json'"]),
        (["read", "BTC-USDT", "1m"], ["no database in", "crypto-pipeline up"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].islower() else "",
)
def test_usage_errors(run: Run, arguments: list[str], words: list[str]) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert all(word in _one_line(err) for word in words), err


def test_the_venue_is_asked_before_an_instrument_is_added(run: Run, database: str) -> None:
    with running_exchange(instruments="BTC-USDT,ETH-USDT,SOL-USDT", weight_limit=0) as exchange:
        where = {"DATABASE_URL": database, "REPLAY_PORT": str(exchange.port)}
        code, _, err = run("instruments", "add", "SOLL-USDT", **where)
        assert code == 2
        assert "replay does not list 'SOLL-USDT': did you mean SOL-USDT" in _one_line(err)
        assert "--force" in err
        code, _, err = run("instruments", "add", "AAPL", **where)
        assert code == 2
        assert "replay does not list 'AAPL'" in _one_line(err)
        assert run("instruments", "add", "sol-usdt", **where)[:2] == (0, "SOL-USDT added\n")
        assert run("instruments", "add", "--force", "币安人生-USDT", **where)[:2] == (0, "币安人生-USDT added\n")
    code, _, err = run("instruments", "add", "ADA-USDT", REQUEST_ATTEMPTS="1", **where)
    assert code == 1
    assert "cannot be asked whether it lists ADA-USDT" in _one_line(err)
    assert "crypto-pipeline instruments add --force ADA-USDT" in err
    code, out, _ = run("instruments", "remove", "币安人生-USDT", "btc-usdt", DATABASE_URL=database)
    assert code == 0
    assert "币安人生-USDT is no longer collected; it had no bar and is deleted" in out
    with Store(database) as store:
        assert sorted(store.instruments.ids()) == ["ETH-USDT", "SOL-USDT"], "what has no bar needs no memory"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DAYS": "many"}, ["CRYPTO_PIPELINE_DAYS", "'many'"]),
        ({"BUDGET_SHARE": "7"}, ["CRYPTO_PIPELINE_BUDGET_SHARE", "'7'", "Share of the venue's request budget"]),
        ({"VENUE": "mtgox"}, ["CRYPTO_PIPELINE_VENUE", "'mtgox'"]),
        ({"DATABASE_URL": "mysql://u:hunter2@h/d"}, ["CRYPTO_PIPELINE_DATABASE_URL", "postgresql://"]),
    ],
)
def test_bad_settings(run: Run, environment: dict[str, str], words: list[str]) -> None:
    code, _, err = run("settings", **environment)
    assert code == 2
    assert all(word in _one_line(err) for word in words), err
    assert "hunter2" not in err


def test_bad_settings_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "crypto_pipeline.toml").write_text("vneue = 'binance'\n")
    code, _, err = run("settings")
    assert code == 2
    assert "'vneue'" in _one_line(err)


def test_unreachable_database(run: Run) -> None:
    code, _, err = run("read", "BTC-USDT", "1m", DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/d")
    assert code == 1
    assert "127.0.0.1:1" in _one_line(err)
    assert "hunter2" not in err


def test_newer_schema(run: Run, database: str) -> None:
    from crypto_pipeline.store.database.connect import connect

    with connect(database) as connection:
        connection.execute("INSERT INTO crypto_pipeline_version VALUES ('9999.future')")
    code, _, err = run("instruments", "list", DATABASE_URL=database)
    assert code == 1
    assert "9999.future" in _one_line(err)
    assert "upgrade" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "BTC-USDX", "1m"],
        ["backfill", "--instruments", "BTC-USDX"],
        ["coverage", "--instruments", "BTC-USDX"],
        ["instruments", "remove", "BTC-USDX"],
    ],
)
def test_unknown_symbol_names_the_nearest(run: Run, database: str, arguments: list[str]) -> None:
    code, _, err = run(*arguments, DATABASE_URL=database)
    assert code == 2
    assert "'BTC-USDX'" in _one_line(err)
    assert "BTC-USDT" in err


def test_unknown_gap(run: Run, database: str) -> None:
    code, _, err = run("gaps", "reopen", "12345", DATABASE_URL=database)
    assert code == 1
    assert "12345" in _one_line(err)


def test_no_replay_exchange(run: Run) -> None:
    code, _, err = run("replay", "fault", "clear", "--url", "http://127.0.0.1:1")
    assert code == 2
    assert "http://127.0.0.1:1" in _one_line(err)


def test_debug_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DEBUG", "")
    code, _, err = run("read", "BTC-USDT", "2m", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_status_of_nothing(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("status", "--json")
    found = json.loads(out)
    assert code == 3
    assert found["running"] is found["complete"] is found["healthy"] is False
    assert found["url"] is None
    assert not (tmp_path / "data").exists(), "asking changes nothing"
    code, out, _ = run("status")
    assert code == 3
    assert "nothing runs" in out


def test_down_of_nothing(run: Run) -> None:
    code, out, _ = run("down")
    assert code == 0
    assert "nothing runs" in out


def test_settings_hide_secrets_and_say_where_values_come_from(run: Run) -> None:
    code, out, _ = run("settings", "--json", DATABASE_URL="postgresql://u:hunter2@h/d", DAYS="3")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert "hunter2" not in out
    assert rows["database_url"]["value"] == "(hidden)"
    assert rows["days"] | {"description": ""} == {
        "name": "days",
        "value": 3,
        "from": "environment",
        "env": "CRYPTO_PIPELINE_DAYS",
        "description": "",
    }
    assert rows["host"]["from"] == "default"


def test_help_is_quick_and_needs_nothing_heavy() -> None:
    code = (
        "import sys; from crypto_pipeline.cli.app import app\n"
        "heavy = {'dagster', 'polars', 'psycopg', 'pydantic', 'aiohttp', 'rich.progress', 'sqlalchemy'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    # Processor time, the best of three: the machine may have other things to do.
    assert min(_processor_seconds_of_help() for _ in range(3)) < 0.3


def _processor_seconds_of_help() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run([sys.executable, "-m", "crypto_pipeline.cli", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b"reconcile" in answer.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
