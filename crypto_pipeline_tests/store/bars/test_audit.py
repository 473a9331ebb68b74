"""Queries of checks that are cut in pieces find what one query finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.bars import audit
from crypto_pipeline_tests.builders.bars import bar, frame

SUNDAY = datetime(2025, 3, 9, 23, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def found(store: Store, start: datetime, end: datetime) -> list[pl.DataFrame]:
    return [
        store.audit.activity(Timeframe.M1, start, end).sort("open_time"),
        store.audit.insane_bars(Timeframe.M1, start, end),
        store.audit.silent_minutes(start, end),
        store.audit.volume_conservation(Timeframe.M5, Timeframe.M1, start, end),
    ]


def test_pieces_find_what_the_whole_finds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour around the midnight on which a piece ends, with silent minutes and wrong volumes on both sides."""
    rows = []
    for symbol, count in (("BTC-USDT", 60), ("ETH-USDT", 59)):
        for n in range(count):
            rows.append(
                bar(
                    symbol,
                    SUNDAY + n * MINUTE,
                    volume=0.0 if n % 3 == 0 else 1.0,
                    quote_volume=0.0,
                    taker_buy_volume=0.0,
                )
            )
    store.bars.write(frame(rows), Timeframe.M1)
    for n in range(0, 60, 5):
        wider = bar(
            "BTC-USDT", SUNDAY + n * MINUTE, volume=float(n), taker_buy_volume=0.0, source="historical_aggregated"
        )
        store.bars.write(frame([wider]), Timeframe.M5)
    start, end = SUNDAY - timedelta(days=20), SUNDAY + timedelta(days=20)
    monkeypatch.setattr(audit, "WEEKS", 1_000)
    whole = found(store, start, end)
    monkeypatch.setattr(audit, "WEEKS", 1)
    pieces = found(store, start, end)
    for one, other in zip(whole, pieces, strict=True):
        assert one.equals(other)
    activity, _, silent, differing = whole
    assert activity["instruments"].to_list() == [2] * 59 + [1]
    assert silent.height == 40
    assert differing["day"].n_unique() == 2
