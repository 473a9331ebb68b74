"""Massive's client against a server that speaks its protocol over recorded and generated stocks."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.market.corporate_actions.actions import ActionKind
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.replay.massive.generated import GeneratedStocks, Halt
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.recorded import RecordedStocks
from crypto_pipeline.replay.massive.tape import DividendEvent, SplitEvent, Stock
from crypto_pipeline.settings import load_settings
from crypto_pipeline.venues import (
    BarsAnswer,
    FetchPlan,
    ListingStatus,
    MassiveStocks,
    UnknownSymbol,
    VenueError,
    make_venue,
    require_keys,
)
from crypto_pipeline.venues.massive import rest
from crypto_pipeline.venues.massive.conditions import updates_volume
from crypto_pipeline.venues.massive.names import crypto_pair, stock_ticker
from crypto_pipeline_tests.builders import lean
from crypto_pipeline_tests.builders.massive_server import KEY, client, massive

M1, D1 = Timeframe.M1, Timeframe.D1
DAY = timedelta(days=1)
#: A Tuesday evening in New York, after a Monday without a session (2024-05-27).
NOW = datetime(2024, 5, 28, 22, tzinfo=UTC)
BEGAN = date(2024, 1, 2)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.fixture
def tape() -> GeneratedStocks:
    return GeneratedStocks(
        [
            Stock("NVDA", BEGAN, splits=(SplitEvent(date(2024, 5, 10), 1, 10),),
                  dividends=(DividendEvent(date(2024, 5, 14), 0.01, date(2024, 5, 2)),)),
            Stock("META", BEGAN, tickers=((BEGAN, "FB"), (date(2024, 5, 15), "META"))),
            Stock("BRK.B", BEGAN),
            Stock("OLD", BEGAN, delisted=date(2024, 5, 20)),
        ],
        busy={"BRK.B": 0.6},
        halts=[Halt("NVDA", utc(2024, 5, 24, 15), 10)],
    )  # fmt: skip


async def bars(venue: MassiveStocks, symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
    plan = FetchPlan(symbol, symbol, timeframe, [(start, end)])
    answers: list[BarsAnswer] = []
    async with aclosing(venue.bars(plan)) as several:
        async for answer in several:
            assert not answer.refused
            answers.append(answer)
    for earlier, later in pairwise(answers):
        assert earlier.end == later.start
    return pl.concat([answer.bars for answer in answers])


async def test_recorded_minutes_and_days_come_as_they_were_traded(recorded_data: Path) -> None:
    tape = RecordedStocks(recorded_data / "lean/equity/usa")
    async with massive(tape, utc(2021, 4, 1)) as (server, url):
        venue = client(url)
        minutes = await bars(venue, "AAPL", M1, utc(2014, 6, 5), utc(2014, 6, 10))
        expected = pl.concat([lean.minute_bars(recorded_data, "aapl", date(2014, 6, day)) for day in (5, 6, 9)])
        values = ["open_time", "open", "high", "low", "close", "volume"]
        assert_frame_equal(minutes.select(values), expected.select(values))
        assert minutes["trade_count"].null_count() == minutes.height
        days = await bars(venue, "AAPL", D1, utc(1998, 1, 1), utc(2021, 3, 31))
        assert_frame_equal(days.select(values), lean.daily_bars(recorded_data, "aapl").head(-1).select(values))
        assert all("adjusted=false" in path for path in server.requests if "/aggs/" in path)
        assert await venue.listed_since("SPY") == utc(2003, 9, 10, 4)
        await venue.close()


async def test_splits_and_dividends_are_those_of_the_factor_file(recorded_data: Path) -> None:
    async with massive(RecordedStocks(recorded_data / "lean/equity/usa"), utc(2021, 4, 1)) as (_, url):
        venue = client(url)
        answer = await venue.corporate_actions("AAPL", "AAPL")
        expected = lean.corporate_actions(recorded_data, "aapl")
        assert answer.refused == ()
        assert set(answer.whole) == set(ActionKind)

        def terms(found: object) -> list[tuple[object, ...]]:
            return sorted((str(one.kind), one.effective_date, one.split_to, round(one.amount or 0, 3)) for one in found)  # type: ignore[attr-defined]

        assert terms(answer.actions) == terms(expected)
        await venue.close()


async def test_ticks_are_filtered_by_the_conditions_of_the_tape(recorded_data: Path) -> None:
    """All ticks make up the volume of LEAN's minutes; those at average or agreed prices lie outside of high and low."""
    tape = RecordedStocks(recorded_data / "lean/equity/usa")
    async with massive(tape, utc(2021, 4, 1)) as (_, url):
        venue = client(url)
        start, end = utc(2013, 10, 8, 13, 31), utc(2013, 10, 8, 19, 59)
        answer = await venue.trades("IBM", "IBM", start, end)
        await venue.close()
    minutes = lean.minute_bars(recorded_data, "ibm", date(2013, 10, 8)).filter(
        pl.col("open_time").is_between(start, end, closed="left")
    )
    ticks = tape.trades("IBM", date(2013, 10, 8), date(2013, 10, 8)).with_columns(
        pl.from_epoch(pl.col("ns"), "ns").dt.cast_time_unit("ms").dt.replace_time_zone("UTC").alias("time")
    )

    def agreeing(trades: pl.DataFrame) -> int:
        of_minute = trades.group_by(pl.col("time").dt.truncate("1m").alias("open_time")).agg(
            pl.col("price").max().alias("most"), pl.col("price").min().alias("least")
        )
        both = minutes.join(of_minute, on="open_time", how="left")
        return both.filter((pl.col("most") == pl.col("high")) & (pl.col("least") == pl.col("low"))).height

    counted = ticks.filter(pl.col("conditions").map_elements(updates_volume, pl.Boolean))
    volumes = counted.group_by(pl.col("time").dt.truncate("1m").alias("open_time")).agg(pl.col("size").sum())
    both = minutes.join(volumes, on="open_time")
    assert both.filter(pl.col("size") == pl.col("volume")).height >= minutes.height - 3
    assert agreeing(answer.trades) > agreeing(ticks)
    assert answer.trades.height < ticks.height
    assert answer.trades["trade_id"].is_sorted()
    assert answer.trades["trade_id"].is_unique().all()
    assert answer.trades["taker_side"].null_count() == answer.trades.height


async def test_generated_bars_equal_the_tape_with_half_days_halts_and_renames(tape: GeneratedStocks) -> None:
    async with massive(tape, NOW) as (server, url):
        venue = client(url)
        read = await bars(venue, "META", M1, utc(2024, 5, 13), utc(2024, 5, 17))
        truth = tape.minutes("META", date(2024, 5, 13), date(2024, 5, 16))
        assert read["open_time"].to_physical().to_list() == truth["t"].to_list()
        assert read["close"].to_list() == truth["c"].to_list()
        assert read["trade_count"].to_list() == truth["n"].to_list()
        asked = [path.split("/")[4] for path in server.requests if "/aggs/" in path]
        assert asked == ["FB", "META"]
        days = await bars(venue, "META", D1, utc(2024, 5, 13), utc(2024, 5, 17))
        assert days["open_time"].dt.day().to_list() == [13, 14, 15, 16]
        assert days["volume"].to_list() == tape.days("META", date(2024, 5, 13), date(2024, 5, 16))["v"].to_list()
        weeks = await bars(venue, "META", Timeframe.W1, utc(2024, 5, 6), utc(2024, 5, 20))
        assert weeks["open_time"].dt.day().to_list() == [6, 13]
        assert weeks["high"][1] == tape.days("META", date(2024, 5, 13), date(2024, 5, 17))["h"].max()
        assert await venue.listed_since("META") == from_unix_ms(tape.minutes("META", BEGAN, BEGAN)["t"][0])
        await venue.close()


async def test_what_is_not_over_or_not_stated_yet_is_no_bar(tape: GeneratedStocks) -> None:
    noon = utc(2024, 5, 28, 16, 30, 30)
    async with massive(tape, noon, {KEY: Plan(delay=timedelta(minutes=15))}) as (_, url):
        venue = client(url, delay=timedelta(minutes=15))
        plan = FetchPlan("NVDA", "NVDA", M1, [(utc(2024, 5, 28), utc(2024, 5, 29))])
        async with aclosing(venue.bars(plan)) as several:
            answers = [answer async for answer in several]
        assert answers[-1].end == utc(2024, 5, 28, 16, 15)
        assert answers[-1].bars["open_time"].max() == utc(2024, 5, 28, 16, 14)
        # the day's own bar is final well after its end
        assert not (await bars_or_none(venue, D1, utc(2024, 5, 28), utc(2024, 5, 29)))
        assert await venue.last_bar("NVDA") == utc(2024, 5, 28, 16, 14)
        await venue.close()


async def bars_or_none(venue: MassiveStocks, timeframe: Timeframe, start: datetime, end: datetime) -> list[BarsAnswer]:
    async with aclosing(venue.bars(FetchPlan("NVDA", "NVDA", timeframe, [(start, end)]))) as several:
        return [answer async for answer in several]


async def test_listings_have_both_spellings_of_a_class_of_shares_and_what_was_delisted(tape: GeneratedStocks) -> None:
    async with massive(tape, NOW) as (_, url):
        venue = client(url)
        listings = {one.base: one for one in await venue.listings()}
        assert listings["BRK-B"].venue_symbol == listings["BRK.B"].venue_symbol == "BRK.B"
        assert listings["META"].quote == "USD"
        assert not {"FB", "OLD"} & listings.keys()
        listings |= {one.base: one for one in await venue.former_listings(["OLD", "NEVER"])}
        assert (listings["OLD"].status, listings["OLD"].delisted) == (ListingStatus.DELISTED, utc(2024, 5, 20))
        assert stock_ticker("BRK-B") == stock_ticker("BRK.B") == stock_ticker("BRK/B") == "BRK.B"
        dashed = await bars(venue, "BRK-B", M1, utc(2024, 5, 24), utc(2024, 5, 25))
        assert dashed.height == tape.minutes("BRK.B", date(2024, 5, 24), date(2024, 5, 24)).height
        await venue.close()


async def test_pages_are_followed_for_bars_and_trades(tape: GeneratedStocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MOST_TRADES", 100)
    async with massive(tape, NOW) as (server, url):
        venue = client(url)
        start, end = utc(2024, 5, 24, 14), utc(2024, 5, 24, 16)
        answer = await venue.trades("NVDA", "NVDA", start, end)
        truth = tape.trades("NVDA", date(2024, 5, 24), date(2024, 5, 24)).filter(
            pl.col("ns").is_between(int(start.timestamp()) * 10**9, int(end.timestamp()) * 10**9 - 1)
        )
        regular = truth.filter(pl.col("conditions").list.first() == 0)
        assert truth.height > regular.height  # odd lots, at prices that no bar has
        assert answer.trades["price"].to_list() == regular["price"].to_list()
        assert sum("cursor=" in path for path in server.requests) == truth.height // 100
        halted = await venue.trades("NVDA", "NVDA", utc(2024, 5, 24, 15), utc(2024, 5, 24, 15, 10))
        assert halted.trades.is_empty()
        await venue.close()


async def test_renames_splits_and_dividends_of_a_stock(tape: GeneratedStocks) -> None:
    async with massive(tape, NOW) as (_, url):
        venue = client(url)
        (renamed,) = (await venue.corporate_actions("META", "META")).actions
        assert (renamed.kind, renamed.old_symbol, renamed.new_symbol) == (ActionKind.RENAME, "FB", "META")
        assert renamed.effective_at == utc(2024, 5, 15, 4)
        split, dividend = (await venue.corporate_actions("NVDA", "NVDA")).actions
        assert (split.split_from, split.split_to, split.effective_date) == (1, 10, date(2024, 5, 10))
        assert (dividend.amount, dividend.known_at) == (0.01, utc(2024, 5, 3, 4))
        await venue.close()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("wrong", r"Massive does not accept the key \(Unknown API Key\): set CRYPTO_PIPELINE_MASSIVE_KEY to a key of"),
        ("old", r"the plan of this key does not include .*\(Your plan has expired.*renew or upgrade it at"),
        ("short", r"doesn't include this data timeframe.*ask for fewer days with CRYPTO_PIPELINE_DAYS"),
    ],
)
async def test_a_refusal_says_what_helps_and_never_the_key(
    tape: GeneratedStocks, key: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with massive(tape, NOW, {"old": Plan(expired=True), "short": Plan(days=30)}) as (server, url):
        venue = client(url, f"{key}")
        with pytest.raises(VenueError, match=said) as error:
            await bars(venue, "NVDA", M1, utc(2024, 2, 1), utc(2024, 2, 2))
        assert error.value.permanent
        assert not any(key in path for path in server.requests)
        await venue.close()
    assert f"Bearer {key}" not in caplog.text


async def test_an_unknown_ticker_and_a_wrong_address(tape: GeneratedStocks) -> None:
    async with massive(tape, NOW) as (_, url):
        venue = client(url)
        assert (await bars(venue, "NOPE", M1, utc(2024, 5, 24), utc(2024, 5, 25))).is_empty()
        assert "NOPE" not in {one.base for one in await venue.listings()}
        with pytest.raises(UnknownSymbol, match=r"knows nothing at /v9/nothing.*is the ticker right"):
            await venue.http.get("/v9/nothing", lambda answer: answer.body)
        await venue.close()


async def test_too_many_requests_of_a_plan_are_waited_out(
    tape: GeneratedStocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "_NEXT_MINUTE", 0.2)
    async with massive(tape, NOW, {KEY: Plan(requests=3)}) as (server, url):
        venue = client(url)
        await venue.server_time()
        server.clock.set(speed=300)
        reads = [bars(venue, "NVDA", M1, utc(2024, 5, 24, hour), utc(2024, 5, 24, hour + 1)) for hour in (14, 15, 16)]
        truth = tape.minutes("NVDA", date(2024, 5, 24), date(2024, 5, 24))["t"].cast(pl.Datetime("ms", "UTC"))
        expected = [(truth.dt.hour() == hour).sum() for hour in (14, 15, 16)]
        assert [frame.height for frame in await asyncio.gather(*reads)] == expected
        await venue.close()


def test_without_a_key_the_venue_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTO_PIPELINE_MASSIVE_KEY", raising=False)
    for settings in (load_settings(venue="massive"), load_settings(stocks_venue="massive")):
        with pytest.raises(ValueError, match="the venue massive needs a key: set CRYPTO_PIPELINE_MASSIVE_KEY"):
            require_keys(settings)
    require_keys(load_settings(venue="massive", massive_source="replay"))
    settings = load_settings(venue="massive", massive_key="secret-key", massive_requests_per_minute=100)
    venue = make_venue(settings)
    assert isinstance(venue, MassiveStocks)
    assert "secret-key" not in repr(settings)
    assert venue.traits.delay == timedelta(minutes=15)
    assert make_venue(load_settings(venue="massive_crypto", massive_key="k")).name == "massive_crypto"


def test_crypto_pairs_are_split_by_their_quote_asset() -> None:
    assert crypto_pair("X:BTCUSD") == ("BTC", "USD")
    assert crypto_pair("X:BTCUSDT") == ("BTC", "USDT")
    assert crypto_pair("X:BTC-USD") == ("BTC", "USD")
    with pytest.raises(ValueError, match="no pair that can be split"):
        crypto_pair("X:ABCDEF")
