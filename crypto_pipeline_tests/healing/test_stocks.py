"""Stocks brought up to date from a server that speaks Massive's protocol: sessions, half days, halts, both DST days.

Guards I3 and I4 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import polars as pl
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.healing import Pipeline
from crypto_pipeline.healing.checks.stored_bars import accounted_for
from crypto_pipeline.market.calendars import SessionCalendar, get_calendar
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.rollup import roll_up
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.massive.generated import GeneratedStocks, Halt
from crypto_pipeline.replay.massive.recorded import RecordedStocks
from crypto_pipeline.replay.massive.tape import DividendEvent, SplitEvent, Stock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders import lean
from crypto_pipeline_tests.builders.massive_server import KEY, massive
from crypto_pipeline_tests.market.corporate_actions.test_factors import six_digits

T = TypeVar("T")
M1, D1 = Timeframe.M1, Timeframe.D1
BEGAN = date(2024, 1, 2)
NAMES = ("NVDA", "META", "BRK-B", "TSLA", "JPM")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


#: The evening of Friday 2024-07-05: Wednesday was a half day, Thursday a holiday.
NOW = utc(2024, 7, 6, 1, 30)
HALT = Halt("NVDA", utc(2024, 7, 5, 15), 12)


def market() -> GeneratedStocks:
    return GeneratedStocks(
        [
            Stock("NVDA", BEGAN, splits=(SplitEvent(date(2024, 7, 3), 1, 10),),
                  dividends=(DividendEvent(date(2024, 7, 5), 0.5),)),
            Stock("META", BEGAN, tickers=((BEGAN, "FB"), (date(2024, 7, 2), "META"))),
            Stock("BRK.B", BEGAN),
            Stock("TSLA", BEGAN, delisted=date(2024, 7, 3)),
            Stock("JPM", BEGAN),
        ],
        busy={"BRK.B": 0.7},
        halts=[HALT],
    )  # fmt: skip


@pytest.fixture
def store(postgres_url: str) -> Store:
    opened = Store(postgres_url)
    opened.instruments.add(Instrument.stock(name) for name in NAMES)
    return opened


def run(
    store: Store, work: Callable[[Pipeline], Awaitable[T]], *, tape: GeneratedStocks | None = None,
    now: datetime = NOW, days: int = 5,
) -> T:  # fmt: skip
    async def main() -> T:
        async with massive(tape or market(), now) as (_, url):
            settings = Settings(
                venue="massive", massive_url=url, massive_key=KEY, massive_feed="realtime",
                massive_requests_per_minute=60_000, days=days, heal_backoff=0.001, request_timeout=5.0,
            )  # fmt: skip
            async with Pipeline.open(store, settings) as pipeline:
                return await work(pipeline)

    return asyncio.run(main())


async def fill(pipeline: Pipeline) -> object:
    await pipeline.sync_instruments()
    await pipeline.backfill()
    return await pipeline.backfill()  # what leaves out silent minutes is asked twice before that counts


def missing(store: Store) -> int:
    return int(store.coverage.summary()["missing"].sum())


def test_a_week_with_a_half_day_and_a_holiday_is_complete_and_every_hole_explained(store: Store) -> None:
    tape = market()
    run(store, fill, tape=tape)
    assert missing(store) == 0
    start, end = utc(2024, 7, 1), utc(2024, 7, 6)
    for name in NAMES:
        ticker = name.replace("-", ".")
        stored = store.reader.read([name], M1, start, end)
        truth = tape.minutes(ticker, date(2024, 7, 1), date(2024, 7, 5)).filter(
            pl.col("t") < int(end.timestamp() * 1000)
        )
        assert stored["open_time"].to_physical().to_list() == truth["t"].to_list()
        assert stored["close"].to_list() == truth["c"].to_list()
    # days are those of the sessions: prices as the venue's own, without the extended hours' shares
    days = store.reader.read(["JPM"], D1, start, end)
    own = tape.days("JPM", date(2024, 7, 1), date(2024, 7, 5))
    assert days["open_time"].dt.day().to_list() == [1, 2, 3, 5]
    for column, theirs in (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c")):
        assert days[column].to_list()[:3] == own[theirs].to_list()[:3]
    assert (days["volume"] < pl.Series(own["v"])).to_list()[:3] == [True] * 3
    # reasons lie in sessions only, and name halts
    rows = store.ledger.open(M1, list(NAMES))
    sessions = get_calendar("XNYS").spans(M1, start, end)
    for begin, until in rows.filter(pl.col("state") == "no_trade").select("start", "end").iter_rows():
        assert any(opens <= begin and until <= closes for opens, closes in sessions)
    reasons = [json.loads(text) for text in rows.filter(pl.col("instrument") == "NVDA")["evidence"]]
    halts = [reason for reason in reasons if reason["rule"] == "halt"]
    assert len(halts) == 1
    assert "Trading was halted: nothing traded for 12 minutes" in halts[0]["because"]
    assert "halt" not in {json.loads(text)["rule"] for text in rows.filter(instrument="BRK-B")["evidence"]}
    assert rows.filter(instrument="TSLA", state="delisted")["start"].to_list() == [utc(2024, 7, 3)]


def test_every_check_of_stocks_alone_passes(store: Store) -> None:
    """Massive states no wider bars that equal those of the session: nothing can be compared, which is no failure."""

    async def work(pipeline: Pipeline) -> list[CheckOutcome]:
        await fill(pipeline)
        span = utc(2024, 7, 1), utc(2024, 7, 6)
        return [one for timeframe in Timeframe for one in await pipeline.verify(timeframe, *span)]

    outcomes = run(store, work)
    assert [(one.name, one.subject, one.summary) for one in outcomes if not one.passed] == []
    agreed = {one.summary.partition(";")[0] for one in outcomes if one.name == "venue_agreement"}
    assert agreed == {"of closed days nothing can be compared: massive states no wider bars that could be compared"}


def test_a_bar_of_the_session_is_missed_however_many_there_are_of_extended_hours(store: Store) -> None:
    run(store, fill)
    for timeframe in (M1, Timeframe.M5, Timeframe.H1, D1):
        cells = store.coverage.cells([timeframe], None, None)
        assert cells.filter(pl.col("expected") > pl.col("present") + pl.col("explained")).is_empty()
        assert accounted_for(store, timeframe, utc(2024, 7, 1), utc(2024, 7, 6)).passed
    lost = utc(2024, 7, 5, 14, 7)
    (number,) = store.symbols.ids(["JPM"]).values()
    with store.connections.transaction() as connection:
        connection.execute("DELETE FROM market.ohlc_data WHERE instrument_id = %s AND open_time = %s", [number, lost])
        connection.execute(
            "UPDATE market.coverage SET present = present - 1 WHERE instrument_id = %s AND timeframe = '1m' "
            "AND day = '2024-07-05'", [number],
        )  # fmt: skip
    assert missing(store) == 1
    report = run(store, lambda pipeline: pipeline.backfill())
    assert report.of(M1).planned == 1
    assert missing(store) == 0
    assert store.reader.read(["JPM"], M1, lost, lost + timedelta(minutes=1)).height == 1


@pytest.mark.parametrize("now", [utc(2024, 3, 12, 1), utc(2024, 11, 5, 2)])
def test_both_changes_of_daylight_saving_leave_no_false_hole(store: Store, now: datetime) -> None:
    tape = GeneratedStocks([Stock(name.replace("-", "."), BEGAN) for name in NAMES])
    run(store, fill, tape=tape, now=now, days=4)
    assert missing(store) == 0
    rows = store.ledger.open(M1, list(NAMES))
    assert set(rows["state"]) <= {"no_trade"}
    assert rows["bars"].sum() < 60  # of about 2 in a thousand minutes
    days = store.coverage.cells([D1], None, None, ["JPM"])
    assert days.filter(pl.col("expected") > 0)["present"].to_list() == [1, 1]


def test_adjusted_reads_follow_the_actions_that_the_venue_states(store: Store, postgres_url: str) -> None:
    run(store, fill)
    with Reader(postgres_url) as reader:
        actions = reader.corporate_actions("NVDA", as_of=NOW)
        assert actions["kind"].to_list() == ["split", "dividend"]
        span = {"start": "2024-07-01", "end": "2024-07-06"}
        plain = reader.bars("NVDA", "1d", **span)
        splits = reader.bars("NVDA", "1d", **span, adjust="splits")
        assert (plain["close"] / splits["close"]).to_list() == pytest.approx([10, 10, 1, 1])
        whole = reader.bars("NVDA", "1d", **span, adjust="all")
        close = plain["close"][2]
        assert whole["close"][2] == pytest.approx(close - 0.5)
        weeks = reader.bars("NVDA", "1w", **span, adjust="splits")
        days = splits.filter(pl.col("open_time") >= utc(2024, 7, 1))
        assert weeks.is_empty() or weeks["high"][0] == days["high"].max()
        # renames: the old ticker's bars are the instrument's
        assert reader.bars("META", "1d", **span).height == 4
        assert reader.corporate_actions("META", as_of=NOW)["old_symbol"].to_list() == ["FB"]


def test_reads_mark_extended_hours_or_leave_them_out_and_show_closures(store: Store, postgres_url: str) -> None:
    run(store, fill)
    with Reader(postgres_url) as reader:
        span = {"start": "2024-07-03", "end": "2024-07-06"}
        marked = reader.bars("JPM", "1m", **span, sessions="marked")
        regular = reader.bars("JPM", "1m", **span, sessions="regular")
        assert marked.filter(~pl.col("extended")).drop("extended").equals(regular)
        assert marked["extended"].sum() > 100
        # the half day ended at 13:00 in New York
        assert regular.filter(pl.col("open_time").dt.day() == 3)["open_time"].max() == utc(2024, 7, 3, 16, 59)
        with pytest.raises(ValueError, match="sessions='regular' with last: give a start"):
            reader.bars("JPM", "1m", last=3, sessions="regular")
        assert reader.bars("JPM", "1m", last=3, end="2024-07-06", sessions="marked")["extended"].all()
        closed = reader.gaps("JPM", "1m", **span, states=["closed"])
        assert closed.select("start", "end", "bars", "gap_id").rows() == [
            (utc(2024, 7, 3, 17), utc(2024, 7, 3, 20), 180, None),
            (utc(2024, 7, 4, 13, 30), utc(2024, 7, 4, 20), 390, None),
        ]
        assert "closed early" in closed["evidence"][0]
        assert "holiday" in closed["evidence"][1]
        assert reader.gaps("JPM", "1m", states=["no_trade"]).filter(state="closed").is_empty()


def test_roll_ups_of_extended_hours_are_stored_beside_those_of_the_session(store: Store) -> None:
    tape = market()
    run(store, fill, tape=tape)
    minutes = store.reader.read(["JPM"], M1, utc(2024, 7, 2), utc(2024, 7, 3)).drop("recorded_at", "vwap")
    hours = store.reader.read(["JPM"], Timeframe.H1, utc(2024, 7, 2), utc(2024, 7, 3))
    session = minutes.filter(
        pl.col("open_time").is_between(utc(2024, 7, 2, 13, 30), utc(2024, 7, 2, 20), closed="left")
    )
    inside = roll_up(session, Timeframe.H1)
    stored = hours.filter(pl.col("open_time").is_in(inside["open_time"].to_list()))
    assert stored["volume"].to_list() == inside["volume"].to_list()
    assert stored["open"].to_list() == inside["open"].to_list()
    early = hours.filter(pl.col("open_time") < utc(2024, 7, 2, 13))
    assert early["volume"].sum() == minutes.filter(pl.col("open_time") < utc(2024, 7, 2, 13))["volume"].sum()


def test_a_closure_by_special_order_leaves_no_false_hole(store: Store) -> None:
    """On 2025-01-09 New York was closed to mourn a president; no rule of the calendar has that day."""
    tape = GeneratedStocks([Stock(name.replace("-", "."), BEGAN) for name in NAMES])
    run(store, fill, tape=tape, now=utc(2025, 1, 11, 1, 30), days=4)
    assert missing(store) == 0
    assert set(store.ledger.open(M1, list(NAMES))["state"]) <= {"no_trade"}
    days = store.reader.read(["JPM"], D1, utc(2025, 1, 7), utc(2025, 1, 11))
    assert days["open_time"].dt.day().to_list() == [7, 8, 10]
    closed = get_calendar("XNYS")
    assert isinstance(closed, SessionCalendar)
    (closure,) = closed.closures(date(2025, 1, 6), date(2025, 1, 10))
    assert closure.reason == "XNYS had no session on 2025-01-09: closed by special order"


def test_a_split_that_is_replayed_changes_no_stored_row_and_both_views_are_those_of_the_factor_file(
    store: Store, postgres_url: str, recorded_data: Path
) -> None:
    """Apple before and after its split of seven for one, as Massive states it, against the rows of the factor file."""
    tape = RecordedStocks(lean.equity(recorded_data))
    store.instruments.add([Instrument.stock("AAPL")])
    for name in NAMES:
        store.instruments.remove(name)
    before, after = utc(2014, 6, 7, 1, 30), utc(2014, 6, 11, 1, 30)

    async def fill_days(pipeline: Pipeline) -> None:
        await pipeline.sync_instruments()
        await pipeline.backfill(timeframes=[D1])

    def rows(end: datetime) -> list[tuple[object, ...]]:
        query = "SELECT o::text FROM market.ohlc_data o WHERE open_time < %s UNION ALL SELECT r::text FROM "
        return store.connections.rows(f"{query}market.ohlc_revisions r ORDER BY 1", [end])

    run(store, fill_days, tape=tape, now=before, days=60)
    settled = utc(2014, 6, 6)  # Friday's bar may change until six hours after its end
    stored = rows(settled)
    assert len(stored) > 35
    run(store, fill_days, tape=tape, now=after, days=64)
    assert rows(settled) == stored
    # as if both had been collected at their time
    store.connections.run(lambda c: c.execute("UPDATE market.ohlc_data SET recorded_at = open_time + '1 day'") and None)
    factors = {row.day: row for row in lean.factor_rows(recorded_data, "aapl")}
    last = factors[date(2014, 6, 6)]  # the last day before the split
    later = next(row for day, row in sorted(factors.items()) if day > last.day)
    with Reader(postgres_url) as reader:
        span = {"start": "2014-04-15", "end": "2014-06-11"}
        plain = reader.bars("AAPL", "1d", **span)
        known = reader.bars("AAPL", "1d", **span, adjust="splits", as_of=after)
        assert plain.filter(pl.col("open_time") == utc(2014, 6, 6))["close"].to_list() == [float(last.close)]
        ratio = known["close"] / plain["close"]
        for day, factor in zip(plain["open_time"].dt.date(), ratio, strict=True):
            # the file counts a later split too, of four for one
            assert six_digits(factor * float(later.split)) == (last if day <= last.day else later).split
        then = reader.bars("AAPL", "1d", **span, adjust="splits", as_of=before)
        assert then["close"].to_list() == plain["close"].to_list()[: then.height]
        assert then["open_time"].max() == utc(2014, 6, 6)


def test_a_halt_of_a_quarter_of_an_hour_is_explained_once_in_every_width(store: Store) -> None:
    run(store, fill)
    for timeframe in (M1, Timeframe.M5, Timeframe.H1):
        rows = store.ledger.open(timeframe, ["NVDA"])
        inside = rows.filter((pl.col("start") < HALT.start + timedelta(minutes=12)) & (pl.col("end") > HALT.start))
        assert set(inside["state"]) <= {"no_trade"}
    five = store.ledger.open(Timeframe.M5, ["NVDA"]).filter(pl.col("start") == utc(2024, 7, 5, 15))
    assert five["bars"].to_list() == [2]
