"""Factors of splits and dividends equal LEAN's factor files to the last digit that those state, as of any time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as some

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.corporate_actions import actions
from crypto_pipeline.market.corporate_actions.actions import ActionKind, CorporateAction, actions_frame
from crypto_pipeline.market.corporate_actions.adjustment import adjust_bars, mixed_weeks
from crypto_pipeline.market.corporate_actions.factors import choose_adjust, factor_table
from crypto_pipeline.market.corporate_actions.tickers import TickerSpan, ticker_spans
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.builders import lean
from crypto_pipeline_tests.builders.lean import NEW_YORK, SEEN

D1 = Timeframe.D1
DAY = timedelta(days=1)


def six_digits(value: float) -> Decimal:
    """As LEAN states the factor of splits."""
    exact = Decimal(value)
    return exact.quantize(Decimal(1).scaleb(exact.adjusted() - 5), ROUND_HALF_EVEN)


def seven_places(value: float) -> Decimal:
    """As LEAN states the factor of dividends."""
    return Decimal(value).quantize(Decimal("1e-7"), ROUND_HALF_EVEN)


@pytest.mark.parametrize("ticker", ["aapl", "spy"])
def test_factors_equal_those_of_the_factor_file_to_its_last_digit(recorded_data: Path, ticker: str) -> None:
    bars = lean.daily_bars(recorded_data, ticker)
    stated = actions_frame(lean.corporate_actions(recorded_data, ticker))
    name = ticker.upper()
    splits = adjust_bars(bars, D1, factor_table(stated, "splits"))
    table = factor_table(stated, "all", bars.select("instrument", "open_time", "close"), {name: "USD"})
    assert table.notes == ()
    everything = adjust_bars(bars, D1, table)
    factors = pl.DataFrame(
        {
            "day": bars["open_time"].dt.date(),
            "split": splits["close"] / bars["close"],
            "price": everything["close"] / splits["close"],
            "volume": splits["volume"] / bars["volume"],
        }
    )
    by_day = {row["day"]: row for row in factors.iter_rows(named=True)}
    rows = [row for row in lean.factor_rows(recorded_data, ticker) if row.day in by_day]
    assert len(rows) == {"aapl": 40, "spy": 95}[ticker]
    for row in rows:
        ours = by_day[row.day]
        assert (row.day, six_digits(ours["split"])) == (row.day, row.split)
        assert (row.day, seven_places(ours["price"])) == (row.day, row.price)
        assert ours["volume"] == pytest.approx(1 / ours["split"])
    assert factors["split"][-1] == factors["price"][-1] == factors["volume"][-1] == 1


def known_amounts(recorded: Path) -> dict[date, float]:
    return {
        each.effective_date: each.amount
        for each in lean.corporate_actions(recorded, "aapl")
        if each.kind is ActionKind.DIVIDEND and each.amount is not None
    }


def test_the_dividends_of_the_comparison_are_those_that_apple_paid(recorded_data: Path) -> None:
    """The amounts are taken from the factor file; here they are held against what the company published."""
    paid = known_amounts(recorded_data)
    assert [paid[day] for day in (date(2012, 8, 9), date(2013, 5, 9), date(2014, 5, 8), date(2014, 8, 7))] == [
        2.65, 3.05, 3.29, 0.47,
    ]  # fmt: skip
    assert [paid[day] for day in (date(2017, 5, 11), date(2019, 5, 10), date(2020, 8, 7), date(2020, 11, 6))] == [
        0.63, 0.77, 0.82, 0.205,
    ]  # fmt: skip


@pytest.mark.parametrize("moment", [date(2014, 6, 6), date(2014, 6, 9), date(2015, 1, 2), date(2020, 8, 28)])
def test_as_of_an_earlier_day_only_what_was_in_effect_counts(recorded_data: Path, moment: date) -> None:
    """On that day the factor of any earlier one is the quotient of the two that the file states today."""
    bars = lean.daily_bars(recorded_data, "aapl")
    stated = actions_frame(lean.corporate_actions(recorded_data, "aapl"))
    then = stated.filter(pl.col("effective_date") <= moment)
    splits = adjust_bars(bars, D1, factor_table(then, "splits"))
    table = factor_table(then, "all", bars.select("instrument", "open_time", "close"))
    everything = adjust_bars(bars, D1, table)
    rows = lean.factor_rows(recorded_data, "aapl")
    day_of = bars["open_time"].dt.date()
    now = next(row for row in rows if row.day >= moment)
    for row in rows[1:]:
        if row.day > moment:
            continue
        where = day_of.index_of(row.day)
        split = splits["close"][where] / bars["close"][where]
        price = everything["close"][where] / splits["close"][where]
        # each side of the quotient is rounded by up to half of its last digit
        error = Decimal("0.5e-5") * 2
        assert abs(Decimal(split) / (row.split / now.split) - 1) < error
        exact = row.price / now.price
        assert abs(Decimal(price) - exact) <= (Decimal("0.5e-7") / row.price + Decimal("0.5e-7") / now.price) * exact
    after = day_of.index_of(next(day for day in day_of if day >= moment))
    assert everything["close"][after] == bars["close"][after]


def test_minute_bars_change_their_basis_at_midnight_of_the_exchange(recorded_data: Path) -> None:
    """The 7-for-1 split of 2014-06-09: the trades of Friday evening in New York, Saturday in UTC, are before it."""
    days = [date(2014, 6, 5), date(2014, 6, 6), date(2014, 6, 9)]
    bars = pl.concat([lean.minute_bars(recorded_data, "aapl", day) for day in days])
    stated = actions_frame(lean.corporate_actions(recorded_data, "aapl")).filter(
        pl.col("effective_date") == date(2014, 6, 9)
    )
    adjusted = adjust_bars(bars, Timeframe.M1, factor_table(stated, "splits"))
    ratio = (adjusted["close"] / bars["close"]).to_numpy()
    of_day = [(bars["open_time"].dt.convert_time_zone(NEW_YORK).dt.date() == day).sum() for day in days]
    assert of_day == [686, 783, 834]
    np.testing.assert_allclose(ratio, [1 / 7] * (686 + 783) + [1] * 834, rtol=1e-15)
    # the recording's first bar of Monday still has Friday's price
    assert adjusted["close"][686 + 783 - 1] == pytest.approx(adjusted["open"][686 + 783 + 1], rel=0.01)


def bar_days(count: int, close: float = 100.0, name: str = "X") -> pl.DataFrame:
    """Daily bars from Monday 2024-01-01 on, of every day."""
    opens = [datetime(2024, 1, 1, tzinfo=UTC) + n * DAY for n in range(count)]
    return pl.DataFrame(
        {"instrument": [name] * count, "open_time": opens, "close": [close] * count, "volume": [10.0] * count},
        schema={column: BAR_SCHEMA[column] for column in ("instrument", "open_time", "close", "volume")},
    )


def day(number: int) -> date:
    return date(2024, 1, number)


def paid(number: int, amount: float, currency: str = "usd") -> CorporateAction:
    return actions.dividend("X", day(number), NEW_YORK, amount, currency, seen_at=SEEN)


def divided(number: int, shares: float) -> CorporateAction:
    return actions.split("X", day(number), NEW_YORK, 1, shares, seen_at=SEEN)


def test_a_dividend_on_the_day_of_a_split_is_per_new_share() -> None:
    bars = bar_days(4)
    both = factor_table(actions_frame([divided(3, 4), paid(3, 5)]), "all", bars)
    # 100 becomes 25 by the split, of which 5 is paid
    assert adjust_bars(bars, D1, both)["close"].to_list() == [20, 20, 100, 100]
    assert adjust_bars(bars, D1, both)["volume"].to_list() == [40, 40, 10, 10]


def test_a_close_from_before_a_split_is_put_on_the_basis_of_the_dividend() -> None:
    """The day before the dividend has no bar, and a split lies between it and the last close."""
    bars = bar_days(6).filter(~pl.col("open_time").dt.date().is_in([day(3), day(4)]))
    table = factor_table(actions_frame([divided(3, 4), paid(5, 5)]), "all", bars)
    assert adjust_bars(bars, D1, table)["close"].to_list() == [20, 20, 100, 100]


def test_two_dividends_of_a_day_are_one_sum() -> None:
    bars = bar_days(3)
    special = actions.dividend("X", day(3), NEW_YORK, 5, "USD", seen_at=SEEN, event_id="special")
    assert adjust_bars(bars, D1, factor_table(actions_frame([paid(3, 5), special]), "all", bars))["close"][0] == 90


@pytest.mark.parametrize(
    ("what", "bars", "why"),
    [
        (paid(20, 5), bar_days(4), "no daily bar lies in the ten days before"),
        (paid(3, 100), bar_days(4), "the close before it is 100"),
        (paid(3, 5, "cad"), bar_days(4), "it is paid in CAD, prices are in USD"),
    ],
)
def test_an_action_that_cannot_be_applied_is_named_and_costs_only_itself(
    what: CorporateAction, bars: pl.DataFrame, why: str
) -> None:
    table = factor_table(actions_frame([what, divided(2, 2)]), "all", bars, {"X": "USD"})
    assert len(table.notes) == 1
    assert f"of X on {what.effective_date} is not applied: {why}" in table.notes[0]
    assert adjust_bars(bars, D1, table)["close"].to_list() == [50, 100, 100, 100]


def test_bad_terms_are_refused_with_the_value() -> None:
    with pytest.raises(ValueError, match="split of X on 2024-01-03: 0 for 1 is no ratio"):
        divided(3, 0)
    with pytest.raises(ValueError, match="dividend of X on 2024-01-03: nan is no amount"):
        paid(3, float("nan"))
    with pytest.raises(ValueError, match="'X' to 'X' is no rename"):
        actions.rename("X", day(3), NEW_YORK, "X", "X", seen_at=SEEN)
    with pytest.raises(ValueError, match="give 'none', 'splits' or 'all'"):
        choose_adjust("dividends")


def test_an_action_is_known_from_its_declaration_on_and_never_later_than_it_was_seen() -> None:
    midnight = datetime(2024, 1, 10, 5, tzinfo=UTC)
    assert divided(10, 2).effective_at == divided(10, 2).known_at == midnight
    early = datetime(2024, 1, 4, 12, tzinfo=UTC)
    assert actions.split("X", day(10), NEW_YORK, 1, 2, seen_at=early).known_at == early
    declared = actions.dividend("X", day(10), NEW_YORK, 1, "USD", seen_at=SEEN, declared=day(2))
    assert declared.known_at == datetime(2024, 1, 3, 5, tzinfo=UTC)
    # in summer New York is nearer
    assert actions.split("X", date(2024, 7, 1), NEW_YORK, 1, 2, seen_at=SEEN).effective_at.hour == 4


def test_weeks_in_which_an_action_takes_effect_after_monday_are_named() -> None:
    weeks = bar_days(15).filter(pl.col("open_time").dt.weekday() == 1)
    table = factor_table(actions_frame([divided(8, 2), divided(17, 2)]), "splits")
    assert mixed_weeks(weeks, table)["open_time"].dt.date().to_list() == [day(15)]
    assert mixed_weeks(weeks, factor_table(actions_frame([divided(21, 2)]), "splits")).height == 1


@given(
    some.lists(
        some.tuples(some.integers(2, 28), some.floats(0.1, 10), some.sampled_from(["split", "dividend"])),
        max_size=6, unique_by=lambda each: (each[0], each[2]),
    )
)  # fmt: skip
def test_factors_are_the_product_of_all_later_actions(events: list[tuple[int, float, str]]) -> None:
    bars = bar_days(31, close=1000.0)
    stated = [divided(when, by) if kind == "split" else paid(when, by) for when, by, kind in events]
    adjusted = adjust_bars(bars, D1, factor_table(actions_frame(stated), "all", bars))
    for place, opened in enumerate(bars["open_time"].dt.date()):
        price, volume = 1.0, 1.0
        for when in {event[0] for event in events if day(event[0]) > opened}:
            by = {kind: amount for number, amount, kind in events if number == when}
            price, volume = price / by.get("split", 1), volume * by.get("split", 1)
            close = 1000 / by.get("split", 1)
            price *= (close - by.get("dividend", 0)) / close
        assert adjusted["close"][place] == pytest.approx(1000 * price)
        assert adjusted["volume"][place] == pytest.approx(10 * volume)


@pytest.mark.parametrize("ticker", ["goog", "googl", "fb", "aapl"])
def test_tickers_by_day_equal_the_map_file(recorded_data: Path, ticker: str) -> None:
    rows = lean.map_rows(recorded_data, ticker)
    renames = [
        actions.rename(ticker.upper(), last + DAY, NEW_YORK, old, new, seen_at=SEEN)
        for (last, old), (_, new) in pairwise(rows[1:])
    ]
    spans = ticker_spans(rows[-1][1], reversed(renames))
    bounds = [each.last for each in spans[:-1]]
    assert [(each.symbol, each.last) for each in spans[:-1]] == [(name, last) for last, name in rows[1:-1]]
    assert [each.first for each in spans] == [None, *(bound + DAY for bound in bounds if bound)]
    assert spans[-1] == TickerSpan(rows[-1][1], spans[-1].first, None)


def test_a_rename_to_another_ticker_than_the_next_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is to 'B', but its ticker after it was 'C'"):
        ticker_spans("C", [actions.rename("C", day(3), NEW_YORK, "A", "B", seen_at=SEEN)])


def test_dates_before_1970_are_dates_like_others() -> None:
    bars = bar_days(4).with_columns(pl.col("open_time").dt.offset_by("-60y"))  # 1964-01-01 is a Wednesday
    stated = [
        actions.dividend("X", date(1964, 1, 3), NEW_YORK, 5, "USD", seen_at=SEEN),
        actions.split("X", date(1964, 1, 2), NEW_YORK, 1, 2, seen_at=SEEN),
    ]
    table = factor_table(actions_frame(stated), "all", bars)
    assert table.notes == ()
    assert adjust_bars(bars, D1, table)["close"].to_list() == [47.5, 95, 100, 100]
