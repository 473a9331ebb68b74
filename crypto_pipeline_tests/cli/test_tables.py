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


def test_one_outage_of_many_instruments_and_timeframes_is_one_cause(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"C{number:02}-USDT" for number in range(20)]
    silent = {"rule": "outage", "because": "The whole venue was silent: 0 of 20 other instruments have a bar."}
    rows = []
    for name in names:
        for timeframe, minutes in (("1m", 40), ("5m", 40), ("15m", 45)):
            span = {"start": DAY.replace(hour=3), "end": DAY.replace(hour=3) + timedelta(minutes=minutes)}
            rows.append({"instrument": name, "timeframe": timeframe, "state": "venue_outage", **span})
    lost = {"instrument": names[3], "timeframe": "1m", "state": "lost"}
    rows.append(lost | {"start": DAY.replace(hour=9), "end": DAY.replace(hour=10)})
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto(name) for name in names])
        store.ledger.record(pl.DataFrame([row | {"evidence": json.dumps(silent)} for row in rows]))
    code, out, _ = run("gaps", DATABASE_URL=postgres_url)
    assert code == 0
    lines = out.splitlines()
    assert all(len(line) <= 80 for line in lines), out
    heads = [line for line in lines[:-1] if not line.startswith(" ")]
    assert [line.split()[0] for line in heads] == ["lost", "venue_outage"], "what has no reason comes first"
    assert "20 instruments" in heads[1]
    assert "2,100" not in out
    assert "of 1m, 5m, 15m (gap" in " ".join(out.split())
    assert "and 59 more)" in " ".join(out.split())
    code, out, _ = run("gaps", "list")
    assert max(map(len, out.splitlines())) <= 120
    lines = out.splitlines()
    assert lines[1].split() == [
        "gap_id", "instrument", "timeframe", "state", "start", "end", "bars", "attempts", "next_attempt",
    ]  # fmt: skip
    assert lines[2].split()[1:4] == [names[3], "1m", "lost"]
    assert lines[3] == "  The whole venue was silent: 0 of 20 other instruments have a bar."
    monkeypatch.setenv("COLUMNS", "200")
    beside = run("gaps", "list")[1].splitlines()
    assert len(beside) == 2 + 61
    assert beside[2].endswith("have a bar.")


def test_gaps_without_a_further_word_tells_the_reasons(run: Run, postgres_url: str) -> None:
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
    assert out == "no bar is absent\n"
    with Store(postgres_url) as store:
        days = [DAY.date() - timedelta(days=2), DAY.date() - timedelta(days=1)]
        cells = {"instrument": "ETH-USDT", "timeframe": "1m", "day": days, "expected": 1440}
        store.coverage.set_expected(pl.DataFrame(cells))
    code, out, _ = run("gaps", "--instruments", "ETH-USDT", "--start", f"{days[0]}", "--end", f"{days[1]}")
    assert "unasked" in out, "expected bars without a row of the ledger"
    assert "1,440 bars of 1m" in out
    assert "not asked for yet" in " ".join(out.split())
    assert json.loads(run("gaps", "--instruments", "ETH-USDT", "--state", "unasked", "--json")[1])[0]["bars"] == 2880
    assert run("gaps", "--instruments", "ETH-USDT", "--state", "lost")[1] == "no bar is absent\n"


def test_alerts_are_told_once_for_each_cause(run: Run, postgres_url: str) -> None:
    hole = {"instrument": "BTC-USDT", "start": DAY.replace(hour=3), "end": DAY.replace(hour=4)}
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT")])
        assert run("alerts", DATABASE_URL=postgres_url)[:2] == (0, "no alert is open\n")
        store.ledger.record(pl.DataFrame([hole | {"timeframe": "1m", "state": "lost", "evidence": "{}"}]))
        offender = {"offenders": [{"instrument": "BTC-USDT", "day": "2026-01-05"}]}
        for timeframe in ("1m", "5m", "15m"):
            store.checks.record_result("accounted_for", timeframe, False, "error", "bars missing", offender)
        late = {"offenders": [{"instrument": "BTC-USDT", "open_time": "2026-01-05T02:59:00+00:00"}]}
        store.checks.record_result("freshness", "1m", False, "critical", "late", late)
        store.checks.record_result("up_to_date:ml_features", "15m", False, "warning", "1 day is stale")
        elsewhere = {"offenders": [{"instrument": "BTC-USDT", "day": "2025-12-01"}]}
        store.checks.record_result("ohlc_sanity", "1h", False, "error", "an impossible bar", elsewhere)
        store.checks.raise_alert("run:backup", "error", "run 1 failed: the disk is full")
    code, out, _ = run("alerts", "--json")
    groups = json.loads(out)
    assert code == 1
    assert [len(group["alerts"]) for group in groups] == [5, 1, 1]
    assert groups[0]["severity"] == "critical"
    assert "bars missing of BTC-USDT" in groups[0]["cause"]
    code, out, _ = run("alerts")
    assert "5 alerts: freshness 1m; accounted_for 15m, 1m, 5m; up_to_date:ml_features 15m" in " ".join(out.split())
    assert "the last run of backup failed" in out
