"""Which days are due for a comparison with the venue's own bars, and how much was compared."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import bar, frame

H1 = Timeframe.H1
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = MONDAY + 3 * DAY
SPANS = {H1: (MONDAY, MONDAY + 3 * DAY)}
MONTH, SOON = timedelta(days=30), timedelta(days=1)


@pytest.fixture
def bars(store: Store) -> Store:
    """Three days of one hour each, of one instrument."""
    store.bars.write(frame([bar(at=MONDAY + day * DAY) for day in range(3)]), H1)
    return store


def due(store: Store, now: datetime = NOW, venue: str = "replay") -> dict[date, bool]:
    rows = store.comparisons.due(venue, SPANS, now, MONTH, SOON)
    return dict(rows.sort("day").select("day", "changed").iter_rows())


def compared(store: Store, day: int, at: datetime = NOW, **figures: int) -> None:
    cells = store.coverage.cells([H1], MONDAY + day * DAY, MONDAY + (day + 1) * DAY, ["BTC-USDT"])
    values = {"stored": 1, "compared": 1, "disagreed": 0, **figures}
    rows = cells.with_columns(pl.lit(value).alias(name) for name, value in values.items())
    assert store.comparisons.record(rows, "replay", at) == 1


def days(*numbers: int) -> list[date]:
    return [(MONDAY + number * DAY).date() for number in numbers]


def test_a_day_is_due_until_it_was_compared_and_again_when_it_changes(bars: Store) -> None:
    assert due(bars) == dict.fromkeys(days(0, 1, 2), True)
    compared(bars, 1)
    assert list(due(bars)) == days(0, 2)
    bars.bars.write(frame([bar(at=MONDAY + DAY, price=7.0, source="reconciled")]), H1)
    assert due(bars) == dict.fromkeys(days(0, 1, 2), True)


def test_a_day_that_changes_while_it_is_compared_stays_due(bars: Store) -> None:
    cells = bars.coverage.cells([H1], MONDAY, MONDAY + DAY, ["BTC-USDT"])
    bars.bars.write(frame([bar(at=MONDAY, price=7.0, source="reconciled")]), H1)
    rows = cells.with_columns(stored=1, compared=1, disagreed=0)
    bars.comparisons.record(rows, "replay", NOW)
    assert days(0)[0] in due(bars)


def test_every_day_has_its_turn_again_and_one_in_dispute_sooner(bars: Store) -> None:
    compared(bars, 0)
    compared(bars, 1, disagreed=1)
    compared(bars, 2, at=NOW - timedelta(days=20))
    assert due(bars) == {}
    assert due(bars, NOW + 2 * DAY) == dict.fromkeys(days(1), False)
    assert due(bars, NOW + 11 * DAY) == dict.fromkeys(days(1, 2), False)
    assert due(bars, NOW + 31 * DAY) == dict.fromkeys(days(0, 1, 2), False)


def test_what_was_compared_with_another_venue_says_nothing_of_this_one(bars: Store) -> None:
    compared(bars, 0)
    assert list(due(bars, venue="binance")) == days(0, 1, 2)
    assert bars.comparisons.summary("binance", NOW)["compared"].to_list() == [0]


def test_bars_of_other_venues_are_neither_due_nor_counted(store: Store) -> None:
    names = {"SUI-USDT@kraken": "kraken", "SUI-USDT@coinbase": "coinbase"}
    store.instruments.add(Instrument.crypto(name).model_copy(update={"venue": venue}) for name, venue in names.items())
    try:
        store.bars.write(frame([bar("SUI-USDT@kraken", MONDAY), bar("SUI-USDT@coinbase", MONDAY + DAY)]), H1)
        assert list(due(store, venue="kraken")) == days(0)
        assert store.comparisons.summary("kraken", NOW)["stored"].to_list() == [1]
        assert due(store, venue="massive") == {}
        assert store.comparisons.summary("massive", NOW).is_empty()
    finally:
        for name in names:
            store.instruments.remove(name)


def test_instruments_that_are_not_collected_any_more_are_not_due(bars: Store) -> None:
    bars.instruments.remove("BTC-USDT")
    try:
        assert due(bars) == {}
        assert bars.comparisons.summary("replay", NOW).is_empty()
    finally:
        bars.connections.run(lambda link: link.execute("UPDATE market.instruments SET active = true") and None)


def test_the_summary_counts_only_what_was_compared_as_it_is_stored(bars: Store) -> None:
    (row,) = bars.comparisons.summary("replay", NOW).to_dicts()
    assert (row["stored"], row["compared"], row["cells_compared"], row["newest"]) == (3, 0, 0, None)
    compared(bars, 0, at=NOW - DAY)
    compared(bars, 1)
    (row,) = bars.comparisons.summary("replay", NOW).to_dicts()
    assert (row["stored"], row["compared"], row["cells"], row["cells_compared"]) == (3, 2, 3, 2)
    assert (row["oldest"], row["newest"]) == (NOW - DAY, NOW)
    assert [row["first_day"], row["last_day"]] == days(0, 1)
    bars.bars.write(frame([bar(at=MONDAY, price=7.0, source="reconciled")]), H1)
    assert bars.comparisons.summary("replay", NOW)["compared"].to_list() == [1]
    assert bars.comparisons.within("replay", H1, MONDAY + DAY, MONDAY + 2 * DAY) == 1
    assert bars.comparisons.summary("replay", NOW, [Timeframe.M5]).is_empty()
