"""`backfill` names missing bars and the time of their next request, and requests at once what a person names."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from crypto_pipeline.market import Instrument
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.store import Store
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

NOW = datetime(2026, 11, 20, 10, 30, 20, tzinfo=UTC)
HIDDEN = {"kind": "missing_range", "symbol": "BTC-USDT", "start": "2026-11-20T02:00:00Z", "end": "2026-11-20T03:00:00Z"}


def test_bars_that_are_missing_are_named_and_a_named_span_is_asked_for_now(run: Run, postgres_url: str) -> None:
    with (
        running_exchange("generated", now=NOW, weight_limit=0, instruments="BTCUSDT,ETHUSDT", faults=[HIDDEN]) as venue,
        Store(postgres_url) as store,
    ):
        store.instruments.add([Instrument.crypto("BTC-USDT"), Instrument.crypto("ETH-USDT")])
        given = {"DATABASE_URL": postgres_url, "VENUE": "replay", "REPLAY_PORT": str(venue.port), "DAYS": "1"}
        code, _, err = run("backfill", "--timeframe", "1m", **given, HEAL_BACKOFF="3600")
        assert code == 1
        assert "60 bars are missing" in err
        assert "BTC-USDT 1m 2026-11-20T02:00:00Z to 2026-11-20T03:00:00Z: 60 bars" in err
        assert "requested again after 2026-11-20T11:30:" in err
        (asks,) = [line.split("`")[1] for line in err.splitlines() if "requests them now" in line]
        venue.clear_faults()
        code, out, err = run("backfill", "--timeframe", "1m", "--json")
        assert (code, json.loads(out)["still_missing"]) == (1, 60), "without a span it waits"
        gap = str(json.loads(out)["waiting"][0]["gap_id"])
        code, out, _ = run("gaps", "reopen", gap)
        assert code == 0
        assert "--start 2026-11-20T02:00:00Z --end 2026-11-20T03:00:00Z --instruments BTC-USDT` requests it now" in out
        code, out, err = run(*asks.split()[1:], "--timeframe", "1m", "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["timeframes"]["1m"]["planned"] == 60
        assert store.ledger.open().is_empty()
        code, _, err = run("gaps", "reopen", gap)
        assert code == 1
        assert f"row {gap}" in err
