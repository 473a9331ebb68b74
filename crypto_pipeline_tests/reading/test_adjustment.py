"""Adjusted reads: equal to LEAN's factor files as of both times, in every timeframe, with the stored rows unchanged."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from polars.testing import assert_frame_equal

from crypto_pipeline import Reader
from crypto_pipeline.api.app import create_app
from crypto_pipeline.market.corporate_actions import actions
from crypto_pipeline.market.rollup import roll_up
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import AdjustmentWarning
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders import lean
from crypto_pipeline_tests.builders.bars import bar, frame
from crypto_pipeline_tests.builders.lean import NEW_YORK, SEEN
from crypto_pipeline_tests.market.corporate_actions.test_factors import seven_places, six_digits
from crypto_pipeline_tests.store.test_corporate_actions import stock

D1, W1 = Timeframe.D1, Timeframe.W1
EVER = {"start": "1998-01-01", "end": "2021-04-01"}
#: The moment of the 7-for-1 split of Apple, and a Friday noon before it.
SPLIT, BEFORE = datetime(2014, 6, 9, 4, tzinfo=UTC), datetime(2014, 6, 6, 16, tzinfo=UTC)


@pytest.fixture
def stocks(store: Store) -> Store:
    store.instruments.add([stock("AAPL"), stock("SPY"), stock("X")])
    store.connections.run(lambda connection: connection.execute("TRUNCATE market.corporate_actions") and None)
    return store


def everything_stored(store: Store) -> list[tuple[object, ...]]:
    return store.connections.rows(
        "SELECT o::text FROM market.ohlc_data o UNION ALL SELECT r::text FROM market.ohlc_revisions r ORDER BY 1"
    )


def collected_then(store: Store) -> None:
    """As if each bar had been stored when it was over."""
    store.connections.run(
        lambda connection: connection.execute("UPDATE market.ohlc_data SET recorded_at = revision") and None
    )


@pytest.fixture
def apple(stocks: Store, recorded_data: Path) -> Store:
    stocks.bars.write(lean.daily_bars(recorded_data, "aapl"), D1)
    stocks.corporate_actions.record(lean.corporate_actions(recorded_data, "aapl"), "massive", seen_at=SEEN)
    return stocks


def test_adjusted_reads_equal_the_factor_file_and_stored_rows_do_not_change(
    apple: Store, reader: Reader, recorded_data: Path
) -> None:
    before = everything_stored(apple)
    plain = reader.bars("AAPL", "1d", **EVER)
    splits = reader.bars("AAPL", "1d", **EVER, adjust="splits")
    whole = reader.bars("AAPL", "1d", **EVER, adjust="all")
    assert plain.columns == splits.columns == whole.columns
    for row in lean.factor_rows(recorded_data, "aapl")[1:-1]:
        at = plain["open_time"].dt.date().index_of(row.day)
        assert at is not None
        assert plain["close"][at] == float(row.close)
        assert six_digits(splits["close"][at] / plain["close"][at]) == row.split
        assert seven_places(whole["close"][at] / splits["close"][at]) == row.price
    assert_frame_equal(splits["volume"].to_frame(), whole["volume"].to_frame())
    assert everything_stored(apple) == before
    # parts of the span, and few columns, are the same rows
    part = reader.bars("AAPL", "1d", "2012-01-01", "2015-01-01", adjust="all", columns=["open_time", "close"])
    assert_frame_equal(part, whole.filter(pl.col("open_time").dt.year().is_between(2012, 2014)).select(part.columns))
    newest = reader.bars("AAPL", "1d", last=3, end="2014-06-07", adjust="all")
    assert_frame_equal(newest, whole.filter(pl.col("open_time") < datetime(2014, 6, 7, tzinfo=UTC)).tail(3))
    lazily = reader.scan("AAPL", "1d", "2014-05-01", "2014-07-01", adjust="all").select("open_time", "close").collect()
    assert_frame_equal(lazily, whole.select("open_time", "close").filter(pl.col("open_time").is_between(
        datetime(2014, 5, 1, tzinfo=UTC), datetime(2014, 7, 1, tzinfo=UTC), closed="left")))  # fmt: skip


def test_as_of_both_sides_of_a_split_prices_are_on_the_basis_of_their_time(apple: Store, reader: Reader) -> None:
    collected_then(apple)
    span = {"start": "2014-05-01", "end": "2014-07-01"}
    plain = reader.bars("AAPL", "1d", **span)
    then = reader.bars("AAPL", "1d", **span, adjust="splits", as_of=BEFORE)
    assert then["close"].to_list() == plain["close"].to_list()[: then.height]
    after = reader.bars("AAPL", "1d", **span, adjust="splits", as_of=SPLIT + timedelta(days=2))
    assert after["open_time"].max() == datetime(2014, 6, 10, tzinfo=UTC)
    factors = (after["close"] / plain["close"].head(after.height)).to_list()
    assert factors == pytest.approx([1 / 7] * (after.height - 2) + [1, 1], rel=1e-14)
    now = reader.bars("AAPL", "1d", **span, adjust="splits")
    assert (now["close"] / plain["close"]).to_list()[0] == pytest.approx(1 / 28, rel=1e-14)


def test_minute_bars_of_the_days_around_a_split(stocks: Store, reader: Reader, recorded_data: Path) -> None:
    days = [date(2014, 6, 5), date(2014, 6, 6), date(2014, 6, 9)]
    minutes = pl.concat([lean.minute_bars(recorded_data, "aapl", day) for day in days])
    stocks.bars.write(minutes, Timeframe.M1)
    stocks.corporate_actions.record(
        [each for each in lean.corporate_actions(recorded_data, "aapl") if each.effective_date == days[-1]],
        "massive", seen_at=SEEN,
    )  # fmt: skip
    adjusted = reader.bars("AAPL", "1m", "2014-06-05", "2014-06-10", adjust="splits")
    assert (adjusted["close"] / minutes["close"]).to_list() == pytest.approx([1 / 7] * (686 + 783) + [1] * 834)
    assert (adjusted["volume"] / minutes["volume"]).to_list() == pytest.approx([7] * (686 + 783) + [1] * 834)
    # a flat bar between repeats the adjusted close before it
    filled = reader.bars("AAPL", "1m", "2014-06-09T13:30Z", "2014-06-09T14:00Z", adjust="splits", fill="flat")
    assert filled["close"].max() < 100
    before = reader.bars("AAPL", "1m", "2014-06-06T19:00Z", "2014-06-06T20:00Z", adjust="splits", fill="flat")
    assert before["filled"].sum() == 0
    assert before["close"].max() < 100


def test_a_week_in_which_a_split_takes_effect_is_made_of_adjusted_days(
    apple: Store, reader: Reader, recorded_data: Path
) -> None:
    apple.bars.write(roll_up(lean.daily_bars(recorded_data, "aapl"), W1), W1)
    for adjust in ("splits", "all"):
        span = {"start": "1998-01-05", "end": "2021-03-29"}
        days = reader.bars("AAPL", "1d", **span, adjust=adjust, columns="all")
        weeks = reader.bars("AAPL", "1w", **span, adjust=adjust)
        expected = roll_up(days.drop("recorded_at", "vwap"), W1)
        prices = ["open", "high", "low", "close", "volume"]
        assert_frame_equal(weeks.select("open_time", *prices), expected.select("open_time", *prices), rel_tol=1e-12)


def test_an_action_that_cannot_be_applied_is_warned_of_and_the_others_are_applied(
    stocks: Store, reader: Reader
) -> None:
    opens = [datetime(2024, 1, 2, tzinfo=UTC) + timedelta(days=day) for day in range(3)]
    stocks.bars.write(frame([bar("X", at, price=100.0) for at in opens]), D1)
    stocks.corporate_actions.record(
        [
            actions.split("X", date(2024, 1, 4), NEW_YORK, 1, 2, seen_at=SEEN),
            actions.dividend("X", date(2024, 6, 1), NEW_YORK, 1, "USD", seen_at=SEEN),
        ],
        "massive", seen_at=SEEN,
    )  # fmt: skip
    with pytest.warns(AdjustmentWarning, match="the dividend of 1 of X on 2024-06-01 is not applied: no daily bar"):
        read = reader.bars("X", "1d", "2024-01-01", "2024-02-01", adjust="all")
    assert read["close"].to_list() == [50.25, 50.25, 100.5]
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdjustmentWarning)
        reader.bars("X", "1d", "2024-01-01", "2024-02-01", adjust="splits")


def test_pairs_without_actions_and_mixed_questions(apple: Store, reader: Reader) -> None:
    at = datetime(2014, 6, 6, tzinfo=UTC)
    apple.bars.write(frame([bar("BTC-USDT", at), bar("SPY", at)]), D1)
    span = {"start": "2014-06-06", "end": "2014-06-07"}
    both = reader.bars(["AAPL", "BTC-USDT", "SPY"], "1d", **span, adjust="all")
    assert both["instrument"].to_list() == ["AAPL", "BTC-USDT", "SPY"]
    assert both["close"].to_list()[1:] == [100.5, 100.5]
    assert both["close"][0] < 645.57 / 28
    assert reader.bars("DOGE-USDT", "1d", **span, adjust="all").is_empty()
    with pytest.raises(ValueError, match="adjust: give 'none', 'splits' or 'all'"):
        reader.bars("AAPL", "1d", **span, adjust="dividends")


def test_adjusted_answers_are_not_cached_and_tell_notes_over_http(apple: Store, reader: Reader) -> None:
    asked = {"start": "2014-06-06", "end": "2014-06-07"}
    first = reader.cached.bars("AAPL", "1d", **asked, adjust="splits")
    # with this action the stored bars stay the same, and the answer does not
    apple.corporate_actions.record(
        [actions.split("AAPL", date(2022, 1, 3), NEW_YORK, 1, 2, seen_at=SEEN)], "massive", seen_at=SEEN
    )
    second = reader.cached.bars("AAPL", "1d", **asked, adjust="splits")
    assert second.value["close"][0] == first.value["close"][0] / 2
    with TestClient(create_app(reader), base_url="http://127.0.0.1") as client:
        query = {**asked, "timeframe": "1d", "columns": "close"}
        plain = client.get("/bars/AAPL", params=query).json()["bars"]
        adjusted = client.get("/bars/AAPL", params={**query, "adjust": "splits"})
        assert plain == [{"close": 645.57}]
        assert adjusted.json()["bars"] == [{"close": second.value["close"][0]}]
        assert "X-Note" not in adjusted.headers
        apple.corporate_actions.record(
            [actions.dividend("AAPL", date(2023, 1, 3), NEW_YORK, 1, "USD", seen_at=SEEN)], "massive", seen_at=SEEN
        )
        noted = client.get("/bars/AAPL", params={**query, "adjust": "all"})
        assert noted.headers["X-Note"].startswith("the dividend of 1 of AAPL on 2023-01-03 is not applied")
        wrong = client.get("/bars/AAPL", params={**query, "adjust": "x"})
        assert wrong.status_code == 422


def test_corporate_actions_are_read_with_what_is_announced(apple: Store, reader: Reader) -> None:
    ahead = datetime.now(UTC).date() + timedelta(days=30)
    apple.corporate_actions.record([actions.split("SPY", ahead, NEW_YORK, 1, 2, seen_at=SEEN)], "massive", seen_at=SEEN)
    assert reader.corporate_actions("SPY")["effective_date"].to_list() == [ahead]
    assert reader.corporate_actions(["AAPL", "SPY"]).height == 39 + 1
