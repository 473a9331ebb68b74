"""Wider bars from narrower ones, against the rule written as plain Python.

Guards I4 (docs/invariants.md).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from crypto_pipeline.market import (
    BAR_SCHEMA,
    HIGHER_TIMEFRAMES,
    UTC_MS,
    BarOrigin,
    Timeframe,
    empty_bars,
    roll_up,
    roll_up_all,
    roll_up_final,
    subtract,
    to_spans,
)
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline_tests.builders.generators import NAMES, START, bars_of

HIGHER = st.sampled_from(HIGHER_TIMEFRAMES)


def naive_roll_up(bars: pl.DataFrame, timeframe: Timeframe) -> list[dict[str, Any]]:
    """Invariant I4 as one would say it aloud."""
    windows: dict[tuple[str, datetime], list[dict[str, Any]]] = {}
    for bar in bars.sort("instrument", "open_time").iter_rows(named=True):
        windows.setdefault((bar["instrument"], timeframe.floor(bar["open_time"])), []).append(bar)
    rows = []
    for (name, opened), parts in windows.items():
        counted = [part for part in parts if part["volume"] > 0] or parts
        row = {
            "instrument": name,
            "open_time": opened,
            "open": counted[0]["open"],
            "high": max(part["high"] for part in counted),
            "low": min(part["low"] for part in counted),
            "close": counted[-1]["close"],
            "volume": math.fsum(part["volume"] for part in parts),
            "source": least_believed([BarOrigin(part["source"]) for part in parts]),
            "complete": all(part["complete"] for part in parts),
            "revision": max(part["revision"] for part in parts),
        }
        for column in ("quote_volume", "taker_buy_volume", "trade_count"):
            unknown = any(part[column] is None for part in counted)
            row[column] = None if unknown else sum(part[column] or 0 for part in parts)
        rows.append(row)
    return rows


def least_believed(sources: list[BarOrigin]) -> str:
    """What another venue stated is never called ours."""
    others = [source for source in sources if source.startswith(("failover_", "substitute_"))]
    return str(min(others, key=SOURCE_RANKS.__getitem__)) if others else "historical_aggregated"


@given(bars_of(), HIGHER)
def test_equals_the_rule_said_aloud(bars: pl.DataFrame, timeframe: Timeframe) -> None:
    rolled = roll_up(bars, timeframe)
    expected = pl.DataFrame(naive_roll_up(bars, timeframe), schema=BAR_SCHEMA)
    sums = ["volume", "quote_volume", "taker_buy_volume"]
    assert_frame_equal(rolled.drop(sums), expected.drop(sums), check_exact=True)
    assert_frame_equal(rolled.select(sums), expected.select(sums), rel_tol=1e-12, abs_tol=0)


@given(bars_of(), st.randoms())
def test_order_and_route_do_not_matter(bars: pl.DataFrame, random: Any) -> None:
    rows = list(range(bars.height))
    random.shuffle(rows)
    cascade = roll_up_all(bars)
    assert list(cascade) == list(HIGHER_TIMEFRAMES)
    finer = bars
    for timeframe, rolled in cascade.items():
        assert roll_up(bars[rows], timeframe).equals(rolled)
        assert roll_up(finer, timeframe).equals(rolled), "rolled up from the timeframe below"
        finer = rolled


@given(bars_of(), HIGHER)
def test_an_instrument_alone_and_columns_few(bars: pl.DataFrame, timeframe: Timeframe) -> None:
    few = ["open_time", "open", "high", "low", "close", "volume"]
    together = roll_up(bars, timeframe)
    for name in NAMES:
        alone = roll_up(bars.filter(instrument=name).select(few), timeframe)
        assert alone.columns == few
        assert alone.equals(together.filter(instrument=name).select(few))


def test_many_blocks_give_what_one_would() -> None:
    """Long input goes through in blocks that end in the middle of instruments, weeks and holes."""
    minutes = 150_000
    one = pl.DataFrame({"minute": pl.int_range(minutes, eager=True)}).filter(pl.col("minute").hash(3) % 11 > 0)
    scatter = (pl.col("minute").hash(7) % 1000).cast(pl.Float64)
    bars = pl.concat([one.select(pl.lit(name).alias("instrument"), "minute") for name in NAMES]).select(
        "instrument",
        (pl.lit(START, UTC_MS) + pl.duration(minutes="minute")).cast(UTC_MS).alias("open_time"),
        scatter.alias("open"),
        (scatter + 5).alias("high"),
        (scatter - 5).alias("low"),
        (scatter + 1).alias("close"),
        pl.when(pl.col("minute").hash(5) % 3 > 0).then(scatter).otherwise(0.0).alias("volume"),
    )
    for timeframe, rolled in roll_up_all(bars).items():
        traded = pl.col("volume") > 0
        counted = pl.when(traded.any()).then(traded).otherwise(pl.lit(value=True))
        expected = (
            bars.group_by("instrument", timeframe.floor_expr(), maintain_order=True)
            .agg(
                pl.col("open").filter(counted).first(),
                pl.col("high").filter(counted).max(),
                pl.col("low").filter(counted).min(),
                pl.col("close").filter(counted).last(),
                pl.col("volume").sum(),
            )
        )  # fmt: skip
        assert_frame_equal(rolled, expected, check_exact=True)


def test_a_flat_bar_never_touches_the_prices() -> None:
    bars = pl.DataFrame(
        {
            "open_time": [START + timedelta(minutes=minute) for minute in range(5)],
            "open": [9.0, 2.0, 3.0, 3.0, 9.0],
            "high": [9.0, 4.0, 3.5, 3.0, 9.0],
            "low": [9.0, 1.5, 2.5, 3.0, 9.0],
            "close": [9.0, 3.0, 3.0, 3.0, 9.0],
            "volume": [0.0, 1.0, 2.0, 0.0, 0.0],
        },
        schema_overrides={"open_time": UTC_MS},
    )
    assert roll_up(bars, "5m").row(0) == (START, 2.0, 4.0, 1.5, 3.0, 3.0)
    assert roll_up(bars.with_columns(volume=0.0), "5m").row(0) == (START, 9.0, 9.0, 1.5, 9.0, 0.0)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_other_units_and_zones_become_ours(unit: Any, zone: str) -> None:
    times = pl.datetime_range(START, START + timedelta(hours=30), "1m", time_zone="UTC", eager=True)
    bars = pl.DataFrame({"open_time": times}).with_columns(open=1.0, high=2.0, low=0.5, close=1.5, volume=1)
    elsewhere = bars.with_columns(pl.col("open_time").dt.convert_time_zone(zone).dt.cast_time_unit(unit))
    rolled = roll_up(elsewhere, Timeframe.D1)
    assert rolled.schema["open_time"] == UTC_MS
    assert rolled.equals(roll_up(bars, Timeframe.D1))


def test_extra_columns_of_a_read_are_understood() -> None:
    bars = pl.DataFrame(
        {
            "instrument": ["A-B", "A-B"],
            "timeframe": ["1m", "1m"],
            "open_time": [START, START + timedelta(minutes=1)],
            "recorded_at": [START + timedelta(hours=2), START + timedelta(hours=1)],
            **{key: [1.0, 1.0] for key in ("open", "high", "low", "close")},
            "volume": [1.0, 3.0],
            "quote_volume": [2.0, 4.0],
            "vwap": [2.0, 4 / 3],
        },
        schema_overrides={"open_time": UTC_MS, "recorded_at": UTC_MS},
    )
    rolled = roll_up(bars, "5m")
    assert rolled.columns == bars.columns
    assert rolled.select("timeframe", "recorded_at", "vwap").row(0) == ("5m", START + timedelta(hours=2), 1.5)


def test_nothing_gives_nothing() -> None:
    for timeframe, rolled in roll_up_all(empty_bars()).items():
        assert rolled.schema == pl.Schema(BAR_SCHEMA), timeframe
        assert rolled.is_empty()


def test_what_cannot_be_rolled_up_is_named() -> None:
    bars = pl.DataFrame(
        {
            "instrument": ["A-B"],
            "open_time": [START],
            **{key: [1.0] for key in ("open", "high", "low", "close", "volume")},
        },
        schema_overrides={"open_time": UTC_MS},
    )
    with pytest.raises(ValueError, match="open_time is naive"):
        roll_up(bars.with_columns(pl.col("open_time").dt.replace_time_zone(None)), "5m")
    with pytest.raises(ValueError, match="open_time is Int64"):
        roll_up(bars.with_columns(pl.col("open_time").to_physical()), "5m")
    with pytest.raises(ValueError, match="lack the column close"):
        roll_up(bars.drop("close"), "5m")
    with pytest.raises(ValueError, match="no rule to roll up the column mood"):
        roll_up(bars.with_columns(mood=1), "5m")
    with pytest.raises(ValueError, match="volume is null in 1 of 1"):
        roll_up(bars.with_columns(volume=pl.lit(None, pl.Float64)), "5m")
    with pytest.raises(ValueError, match="A-B 2024-02-28 22:50 is there twice"):
        roll_up(pl.concat([bars, bars]), "5m")
    with pytest.raises(ValueError, match="unknown timeframe '7m'"):
        roll_up(bars, "7m")


@settings(deadline=None)
@given(bars_of(most=60), st.data(), HIGHER)
def test_only_windows_that_are_whole_and_over_are_final(bars: pl.DataFrame, data: Any, timeframe: Timeframe) -> None:
    now = START + timedelta(minutes=data.draw(st.integers(0, 4000)))
    first, last = Timeframe.W1.floor(START), Timeframe.W1.ceil(START + timedelta(days=7))
    everything = pl.DataFrame({"instrument": NAMES, "start": [first] * 3, "end": [last] * 3})
    # All absent minutes are explained, except a few here and there.
    holes = subtract(everything, to_spans(bars, Timeframe.M1))
    unexplained = data.draw(st.lists(st.integers(0, 3000), max_size=4))
    doubt = pl.DataFrame(
        [(name, minute, minute + timedelta(minutes=1)) for name in NAMES[:2] for minute in
         (START + timedelta(minutes=number) for number in unexplained)],
        schema=holes.schema, orient="row",
    )  # fmt: skip
    accounted = subtract(holes, doubt)
    present = set(bars.select("instrument", "open_time").rows())

    def is_final(name: str, opened: datetime) -> bool:
        minutes = Timeframe.M1.open_times(opened, opened + timeframe.delta)
        doubtful = {(who, start) for who, start, _ in doubt.rows()} - present
        return opened + timeframe.delta <= now and not any((name, minute) in doubtful for minute in minutes)

    rolled = roll_up(bars, timeframe)
    keep = [is_final(*key) for key in rolled.select("instrument", "open_time").iter_rows()]
    expected = rolled.filter(pl.Series(keep, dtype=pl.Boolean))
    assert roll_up_final(bars, timeframe, now=now, accounted=accounted).equals(expected)


def test_final_without_explanations_needs_every_minute() -> None:
    times = [START + timedelta(minutes=minute) for minute in range(15) if minute != 7]
    bars = pl.DataFrame({"open_time": times}, schema={"open_time": UTC_MS})
    bars = bars.with_columns(open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    now = START + timedelta(minutes=15)
    final = roll_up_final(bars, "5m", now=now)
    assert final["open_time"].to_list() == [START, START + timedelta(minutes=10)]
    assert roll_up_final(bars, "5m", now=now, settle_delay=1)["open_time"].to_list() == [START]
    hole = pl.DataFrame({"start": [START + timedelta(minutes=7)], "end": [START + timedelta(minutes=8)]})
    assert roll_up_final(bars, "5m", now=now, accounted=hole).height == 3


def test_an_incomplete_part_makes_the_whole_incomplete() -> None:
    row = ("A-B", START, 1.0, 1.0, 1.0, 1.0, 1.0, None, None, None, str(BarOrigin.LIVE_AGGREGATED), False, START)
    later = ("A-B", START + timedelta(minutes=1), *row[2:-2], True, START)
    rolled = roll_up(pl.DataFrame([row, later], schema=BAR_SCHEMA, orient="row"), "5m")
    assert rolled["complete"].to_list() == [False]
    assert rolled["source"].to_list() == ["historical_aggregated"]


def test_days_and_weeks_open_in_utc_wherever_the_reader_sits() -> None:
    moment = datetime(2024, 3, 3, 23, 59, tzinfo=timezone(timedelta(hours=-5)))  # already Monday in UTC
    bars = pl.DataFrame({"open_time": [moment]}).with_columns(open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    assert roll_up(bars, "1w")["open_time"].item() == datetime(2024, 3, 4, tzinfo=UTC)
