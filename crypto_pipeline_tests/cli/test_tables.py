"""What people read: every column, also where lines are short, and nothing that needs JSON to be understood."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.cli.output import table
from crypto_pipeline.market import Instrument
from crypto_pipeline.store import Store
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

DAY = datetime(2026, 1, 5, tzinfo=UTC)


def test_a_narrow_terminal_loses_no_column(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    columns = [f"column_{number}" for number in range(12)]
    table("wide", columns, [[DAY, 0.1 + 0.2, *range(10)]])
    head, row = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == columns
    assert row.split()[2] == "0.3"


def test_gaps_without_a_further_word_lists_them_with_reasons(run: Run, postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT"), Instrument.crypto("ETH-USDT")])
        lost = {"instrument": "BTC-USDT", "timeframe": "1m", "start": DAY, "end": DAY + timedelta(minutes=3)}
        evidence = json.dumps({"because": "The ids of trades jump.", "rule": "ids"})
        store.ledger.record(pl.DataFrame([lost | {"state": "lost", "evidence": evidence}]))
    code, out, _ = run("gaps", "--state", "lost", "--timeframe", "1m", DATABASE_URL=postgres_url)
    assert code == 0
    assert "BTC-USDT" in out
    assert "The ids of trades jump." in out
    assert "2026-01-05 00:03Z" in out
    assert json.loads(run("gaps", "--json")[1]) == json.loads(run("gaps", "list", "--json")[1])
    code, out, _ = run("gaps", "--instruments", "ETH-USDT")
    assert "lost" not in out
