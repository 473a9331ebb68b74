"""Bars without volume that a venue that works would hardly have stated."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.market.gaps.zero_volume import improbable, longest_plausible

START = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def minutes(silent: dict[str, set[int]], count: int, odd: frozenset[tuple[str, int]] = frozenset()) -> pl.DataFrame:
    """What is doubted in ``count`` minutes of instruments that are silent in the given ones."""
    rows = [
        (name, START + place * MINUTE, (name, place) not in odd)
        for name in sorted(silent)
        for place in sorted(silent[name])
    ]
    schema = {"instrument": pl.String(), "open_time": pl.Datetime("ms", "UTC"), "flat": pl.Boolean()}
    times = pl.datetime_range(
        START, START + count * MINUTE, "1m", closed="left", time_zone="UTC", time_unit="ms", eager=True
    )
    present = times.dt.date().alias("day").to_frame().group_by("day").len("present")
    days = pl.concat([present.with_columns(pl.lit(name).alias("instrument")) for name in silent])
    activity = pl.DataFrame({"open_time": times}).with_columns(pl.lit(len(silent)).alias("instruments"))
    return improbable(pl.DataFrame(rows, schema=schema, orient="row"), days, activity)


def thinly(share: float, count: int, seed: int) -> set[int]:
    rng = random.Random(seed)
    return {place for place in range(count) if rng.random() < share}


def doubted(found: pl.DataFrame) -> list[tuple[str, int, int]]:
    return [
        (name, (at - START) // MINUTE, length)
        for name, at, length, _ in found.select(pl.all().sort_by("open_time")).rows()
    ]


def test_a_month_that_somebody_filled_is_doubted() -> None:
    """788 minutes of 43,199 traded; the rest was filled flat."""
    filled = set(range(43_199)) - set(range(20_000, 20_788))
    assert doubted(minutes({"A-B": filled}, 43_199)) == [("A-B", 0, 20_000), ("A-B", 20_788, 22_411)]


def test_filled_holes_of_a_thin_instrument_are_doubted_and_its_own_silences_are_not() -> None:
    count = 20 * 1440
    own = thinly(0.5, count, seed=1)
    assert doubted(minutes({"A-B": own}, count)) == []
    ((name, at, length),) = doubted(minutes({"A-B": own | set(range(9_000, 9_100))}, count))
    assert (name, length >= 100, 8_900 < at <= 9_000) == ("A-B", True, True)


def test_a_price_that_moves_without_a_trade_is_doubted() -> None:
    count = 2 * 1440
    found = minutes({"A-B": thinly(0.3, count, 2) | {77}}, count, frozenset({("A-B", 77)}))
    assert doubted(found) == [("A-B", 77, 1)]
    assert "not flat" in found["reason"][0]


def test_all_silent_at_once_is_doubted_where_one_of_them_hardly_ever_is() -> None:
    count = 3 * 1440
    gone = set(range(700, 706))
    thin = {"C-D": thinly(0.6, count, 3) | gone, "E-F": thinly(0.6, count, 4) | gone}
    assert doubted(minutes(thin, count)) == []
    found = minutes(thin | {"A-B": gone}, count)
    assert doubted(found) == [("A-B", 700, 6)]
    assert found["reason"].to_list() == ["all 3 instruments silent at once"]


def test_the_limit_grows_with_habit_and_length() -> None:
    assert longest_plausible(0.0, 1440) == 10
    assert longest_plausible(0.3, 1440) == 60
    assert 60 < longest_plausible(0.7, 43_200) < longest_plausible(0.9, 43_200)
    assert longest_plausible(1.0, 43_200) == float("inf")
