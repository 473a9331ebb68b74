"""How overdue a bar is: by its timeframe's windows and its calendar's sessions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.healing.checks.freshness import Thresholds, ages, thin
from crypto_pipeline.healing.checks.stored_bars import freshness
from crypto_pipeline.healing.plan import Horizon, refresh_expected
from crypto_pipeline.market import AssetClass, Instrument, Tier, Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import bar, frame

LIMITS = Thresholds.of(Settings())
#: A Friday; New York trades from 14:30 to 21:00 UTC.
FRIDAY = datetime(2026, 11, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        stock = Instrument(
            symbol="NVDA", asset_class=AssetClass.STOCK, base="NVDA", quote="USD", tier=Tier.STOCK, calendar="XNYS"
        )
        opened.instruments.add([Instrument.crypto("BTC-USDT"), stock])
        yield opened


def horizon(now: datetime) -> Horizon:
    return Horizon.of(now, 7, 5)


def put(store: Store, symbol: str, opens: datetime, timeframe: Timeframe = Timeframe.M1) -> None:
    store.bars.write(frame([bar(symbol, opens, revision=opens + timeframe.delta)]), timeframe)


def levels(store: Store, now: datetime, timeframe: Timeframe = Timeframe.M1) -> dict[str, tuple[timedelta, str]]:
    rows = ages(store, timeframe, horizon(now), LIMITS)
    return {name: (late, level) for name, late, level in rows.select("instrument", "overdue", "level").iter_rows()}


@pytest.mark.parametrize(
    ("minutes", "level"),
    [(1, "ok"), (5, "ok"), (7, "warning"), (10, "warning"), (12, "error"), (15, "error"), (17, "critical")],
)
def test_levels(store: Store, minutes: int, level: str) -> None:
    """Under 5 minutes all is well, under 10 it is a warning, above 15 critical."""
    now = FRIDAY.replace(hour=12, second=5)
    put(store, "BTC-USDT", now.replace(second=0) - (minutes + 1) * MINUTE)
    overdue, said = levels(store, now)["BTC-USDT"]
    assert (overdue, said) == (max(timedelta(0), (minutes - 1) * MINUTE), level)
    outcome = freshness(store, Timeframe.M1, horizon(now), LIMITS)
    btc = outcome.offenders.filter(pl.col("instrument") == "BTC-USDT") if not outcome.passed else pl.DataFrame()
    assert btc.height == (level != "ok")


def test_a_stock_is_awaited_in_its_sessions_only(store: Store) -> None:
    last = FRIDAY.replace(hour=20, minute=59)
    put(store, "NVDA", last)
    for now in (
        FRIDAY.replace(hour=21, minute=0, second=5),
        FRIDAY + timedelta(days=1, hours=12),  # Saturday
        FRIDAY + timedelta(days=3, hours=14, minutes=30, seconds=30),  # Monday, just open
    ):
        assert levels(store, now)["NVDA"] == (timedelta(0), "ok"), now
    open_again = FRIDAY + timedelta(days=3, hours=14, minutes=51, seconds=5)
    assert levels(store, open_again)["NVDA"] == (20 * MINUTE, "critical")
    # the last bar of a session that never came is late although the market has closed since
    put(store, "BTC-USDT", last)
    store.connections.run(
        lambda link: link.execute("DELETE FROM market.ohlc_data WHERE open_time = %s", [last]) and None
    )
    put(store, "NVDA", last - MINUTE)
    assert levels(store, FRIDAY.replace(hour=23, second=5))["NVDA"] == (2 * 60 * MINUTE, "critical")


def test_a_wide_bar_is_late_when_its_window_is_over_not_when_it_is_old(store: Store) -> None:
    noon = FRIDAY.replace(hour=12)
    put(store, "BTC-USDT", noon - timedelta(hours=1), Timeframe.H1)
    assert levels(store, noon + 59 * MINUTE, Timeframe.H1)["BTC-USDT"] == (timedelta(0), "ok")
    late = levels(store, noon + 67 * MINUTE + timedelta(seconds=5), Timeframe.H1)["BTC-USDT"]
    assert late == (7 * MINUTE, "warning")


def test_what_the_ledger_explains_is_not_late(store: Store) -> None:
    noon = FRIDAY.replace(hour=12)
    put(store, "BTC-USDT", noon - 61 * MINUTE)
    assert levels(store, noon + timedelta(seconds=5))["BTC-USDT"][1] == "critical"
    silent = {"instrument": "BTC-USDT", "timeframe": "1m", "start": noon - 60 * MINUTE, "end": noon}
    store.ledger.record(pl.DataFrame([silent | {"state": "no_trade", "evidence": "{}"}]))
    assert levels(store, noon + timedelta(seconds=5))["BTC-USDT"] == (timedelta(0), "ok")


def test_nothing_is_late_for_longer_than_it_was_wanted(store: Store) -> None:
    added = store.instruments.list()[0].added_at
    assert levels(store, added + timedelta(minutes=3))["BTC-USDT"] == (timedelta(minutes=3), "ok")
    assert levels(store, added + timedelta(minutes=20))["BTC-USDT"][1] == "critical"


def test_too_few_bars_in_the_last_hour(store: Store) -> None:
    def short(now: datetime) -> list[str]:
        known = pl.DataFrame({"instrument": ["BTC-USDT", "NVDA"], "calendar": ["24/7", "XNYS"]})
        refresh_expected(store, known, horizon(now), [Timeframe.M1])
        return thin(store, horizon(now), 10)

    sunday = FRIDAY + timedelta(days=2, hours=12, seconds=5)
    assert short(sunday) == ["BTC-USDT"], "New York is closed"
    for minute in range(9):
        put(store, "BTC-USDT", sunday.replace(second=0) - (minute + 1) * MINUTE)
    assert short(sunday) == ["BTC-USDT"]
    put(store, "BTC-USDT", sunday.replace(second=0) - 30 * MINUTE)
    assert short(sunday) == []
    opened = FRIDAY + timedelta(days=3, hours=14, minutes=34, seconds=5)
    assert "NVDA" in short(opened)
    for minute in range(30, 34):
        put(store, "NVDA", opened.replace(minute=minute, second=0))
    assert "NVDA" not in short(opened), "four minutes after the opening four bars are all there can be"
