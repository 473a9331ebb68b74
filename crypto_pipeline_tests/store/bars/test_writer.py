"""What is stored depends only on the copies that came, never on when, how often, in which order or in which company.

Guards I1 and I2 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_pipeline.market import sanity
from crypto_pipeline.market.bars import BAR_SCHEMA, BarOrigin
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.bars import writer
from crypto_pipeline.store.bars.validation import split_bad
from crypto_pipeline_tests.builders.bars import (
    START,
    SYMBOLS,
    bar,
    database_clock,
    empty_tables,
    frame,
    miscounted,
    series,
    stored,
)
from crypto_pipeline_tests.oracles.precedence import best_copies
from crypto_pipeline_tests.oracles.sanity import bar_sanity

M1 = Timeframe.M1
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def copies(draw: st.DrawFn, timeframe: Timeframe) -> dict[str, Any]:
    """One copy of one of a few bars, out of so few values that ties of every length come up."""
    at = START + timeframe.delta * draw(st.sampled_from([0, 1, 1439, 1440, 3000]))
    return bar(
        draw(st.sampled_from(SYMBOLS[:2])),
        at,
        price=draw(st.sampled_from([100.0, 101.0])),
        **draw(
            st.sampled_from(
                [
                    {"volume": volume, "taker_buy_volume": taker}
                    for volume in (0.0, 1.0)
                    for taker in (None, 0.0, volume / 2)
                ]
            )
        ),
        quote_volume=draw(st.sampled_from([None, 0.0, 7.0])),
        trade_count=draw(st.sampled_from([None, 0, 5])),
        source=str(draw(st.sampled_from(list(BarOrigin)))),
        complete=draw(st.booleans()),
        revision=at + timedelta(seconds=draw(st.sampled_from([60, 61]))),
    )


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[Timeframe, list[list[dict[str, Any]]]]:
    """Copies of bars of one timeframe as they arrive, write by write."""
    timeframe = draw(st.sampled_from([M1, Timeframe.H1, Timeframe.W1]))
    return timeframe, draw(st.lists(st.lists(copies(timeframe), max_size=6), min_size=1, max_size=5))


@SLOW
@given(arriving=arrivals())
def test_any_order_and_batching_ends_the_same_and_the_past_can_be_read(
    store: Store, arriving: tuple[Timeframe, list[list[dict[str, Any]]]]
) -> None:
    timeframe, writes = arriving
    empty_tables(store)
    seen: list[dict[str, Any]] = []
    moments = [(database_clock(store), frame([]))]
    for write in writes:
        result = store.bars.write(frame(write), timeframe)
        assert result.changed + result.unchanged == len(write)
        seen += write
        moments.append((database_clock(store), best_copies(frame(seen))))
        assert not miscounted(store)
    final = moments[-1][1]
    assert stored(store, timeframe).equals(final)
    # the log of truths: a mere confirmation moves the revision of what is already believed
    values = [name for name in BAR_SCHEMA if name != "revision"]
    for moment, believed in moments:
        assert stored(store, timeframe, as_of=moment).select(values).equals(believed.select(values))
    # and backwards, in one write, twice
    empty_tables(store)
    store.bars.write(frame(seen[::-1]), timeframe)
    assert stored(store, timeframe).equals(final)
    again = store.bars.write(frame(seen), timeframe)
    assert again.changed == 0
    assert again.cells == []


def test_the_same_bars_again_change_nothing(store: Store) -> None:
    bars = series()
    first = store.bars.write(bars, M1)
    assert (first.inserted, len(first.cells)) == (len(bars), len(SYMBOLS))
    before = store.coverage.version(M1, None, None)
    again = store.bars.write(bars.sample(fraction=1, shuffle=True, seed=1), M1)
    assert (again.unchanged, again.changed, again.cells) == (len(bars), 0, [])
    assert store.coverage.version(M1, None, None) == before


def test_a_confirmation_moves_only_the_revision(store: Store) -> None:
    store.bars.write(frame([bar()]), M1)
    known = store.reader.latest(["BTC-USDT"], M1)["recorded_at"][0]
    result = store.bars.write(frame([bar(revision=START + timedelta(hours=5))]), M1)
    assert (result.revised_only, result.superseded) == (1, 0)
    newest = store.reader.latest(["BTC-USDT"], M1)
    assert newest["revision"][0] == START + timedelta(hours=5)
    assert newest["recorded_at"][0] == known


def test_a_write_changes_new_old_and_unknown_bars_at_once(store: Store) -> None:
    old = series(count=900, seed=1)
    store.bars.write(old, M1)
    new = series(count=1440, seed=2, source="live_aggregated").filter(pl.col("complete"))
    mixed = pl.concat([new, old.head(100)])
    result = store.bars.write(mixed, M1)
    assert min(result.inserted, result.superseded, result.unchanged) > 0
    assert stored(store, M1).equals(best_copies(pl.concat([old, mixed])))
    assert not miscounted(store)


def test_numbers_at_the_limits_are_read_back_to_the_last_bit(store: Store) -> None:
    """Guards I1: a copy that came back changed would differ from itself."""
    least, count = 5e-324, sanity.MAX_COUNT
    edges = {"open": 0.1, "high": sanity.MAX_PRICE, "low": least, "close": 1 / 3, "volume": sanity.MAX_AMOUNT,
             "quote_volume": least}  # fmt: skip
    bars = series(SYMBOLS[:1], count=4).with_columns(
        pl.lit(True).alias("complete"),
        *(pl.lit(value).alias(name) for name, value in edges.items()),
        pl.Series("taker_buy_volume", [0.0, None, least, 0.3]),
        pl.Series("trade_count", [count, count - 1, None, 0]),
    )
    assert store.bars.write(bars, M1).inserted == 4
    assert store.bars.write(bars, M1).unchanged == 4
    assert stored(store, M1).equals(best_copies(bars))


@pytest.mark.parametrize("build_rows", [1, 10**9], ids=["apart", "in place"])
def test_months_are_made_on_demand(store: Store, monkeypatch: pytest.MonkeyPatch, build_rows: int) -> None:
    monkeypatch.setattr(writer, "BUILD_ROWS", build_rows)
    bars = series(count=2880)  # the second day is another month
    result = store.bars.write(bars, M1)
    assert result.inserted == len(bars)
    assert stored(store, M1).equals(best_copies(bars))
    assert not miscounted(store)
    later = series(count=2880, seed=3, revised=timedelta(seconds=1)).filter(pl.col("complete"))
    store.bars.write(later, M1)
    assert stored(store, M1).equals(best_copies(pl.concat([bars, later])))
    keys = store.connections.run(
        lambda connection: connection.execute(
            "SELECT t.relid::regclass::text FROM pg_partition_tree('market.ohlc_data') t "
            "JOIN pg_index i ON i.indrelid = t.relid AND i.indisprimary AND i.indisvalid "
            "JOIN pg_class c ON c.oid = i.indexrelid AND c.reloptions = '{deduplicate_items=off}' WHERE t.isleaf"
        ).fetchall()
    )
    assert {"market.ohlc_1m_2025_03", "market.ohlc_1m_2025_04", "market.ohlc_1h"} <= {table for (table,) in keys}


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_every_timeframe_keeps_what_it_was_given(store: Store, timeframe: Timeframe) -> None:
    bars = series(count=50, timeframe=timeframe)
    assert store.bars.write(bars, timeframe).inserted == len(bars)
    assert stored(store, timeframe).equals(best_copies(bars))
    assert not miscounted(store)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"open": None}, "null"),
        ({"close": float("nan")}, "finite"),
        ({"quote_volume": float("inf")}, "finite"),
        ({"volume": -1.0}, "negative"),
        ({"low": 0.0}, "above zero"),
        ({"trade_count": -1}, "negative"),
        ({"high": 50.0}, "enclose"),
        ({"taker_buy_volume": 99.0, "volume": 5.0}, "taker"),
        ({"volume": 1e308}, "larger than anything"),
        ({"trade_count": 2**62}, "larger than anything"),
        ({"open_time": START + timedelta(seconds=1)}, "grid"),
        ({"open_time": datetime(1969, 12, 31, tzinfo=UTC)}, "range"),
        ({"source": "gossip"}, "source"),
    ],
)
def test_a_faulty_bar_is_turned_away_with_its_reason(store: Store, fault: dict[str, Any], reason: str) -> None:
    good = bar(at=START + timedelta(minutes=1))
    result = store.bars.write(frame([bar() | fault, good]), M1)
    assert (result.inserted, result.rejected) == (1, 1)
    assert any(reason in stated for stated in result.reasons)
    assert stored(store, M1).equals(frame([good]))


_odd = st.sampled_from([None, float("nan"), float("inf"), -1.0, 0.0, 1.0, 2.0])


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume"), _odd)
            | {"trade_count": st.sampled_from([None, -1, 0, 3])}
        ),
        max_size=20,
    )
)
def test_what_is_turned_away_is_what_no_bar_may_be(rows: list[dict[str, Any]]) -> None:
    bars = frame([bar(at=START + timedelta(minutes=place)) | row for place, row in enumerate(rows)])
    good, reasons, _ = split_bad(bars, M1)
    insane = bar_sanity(bars, M1)
    assert good.equals(bars.join(insane, on="open_time", how="anti"))
    assert sum(reasons.values()) == len(insane)


def test_what_is_no_frame_of_bars_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="did you mean BTC-USDT"):
        store.bars.write(frame([bar("BTC-USD")]), M1)
    with pytest.raises(StoreError, match="'volume'"):
        store.bars.write(frame([bar()]).drop("volume"), M1)
    with pytest.raises(StoreError, match="open is String"):
        store.bars.write(frame([bar()]).with_columns(pl.lit("many").alias("open")), M1)
    assert store.bars.write(frame([]), M1).changed == 0


def test_roll_ups_follow_their_minutes_whatever_the_revisions(store: Store) -> None:
    day, cell = START.date(), ["BTC-USDT"]

    def roll(price: float, version: int, revision: int) -> writer.WriteResult:
        made = bar(price=price, source="historical_aggregated", revision=START + timedelta(hours=revision))
        built = pl.DataFrame({"instrument": cell, "day": [day], "built_from": [version]})
        return store.bars.write_rolled(frame([made]), Timeframe.H1, built)

    assert roll(100, 5, 9).inserted == 1
    assert roll(200, 7, 3).superseded == 1  # newer minutes, though an older revision
    late = roll(300, 6, 99)
    assert (late.unchanged, late.changed) == (1, 0)
    assert store.reader.latest(cell, Timeframe.H1)["open"][0] == 200
    cells = store.coverage.cells([Timeframe.H1], None, None)
    assert cells["built_from"].to_list() == [7]
    # a cell without bars is noted as well, and a better source is not overruled
    empty = pl.DataFrame({"instrument": ["ETH-USDT"], "day": [day], "built_from": [4]})
    assert store.bars.write_rolled(frame([]), Timeframe.H1, empty).changed == 0
    assert store.coverage.cells([Timeframe.H1], None, None, ["ETH-USDT"])["built_from"].to_list() == [4]
    store.bars.write(frame([bar(price=7, source="reconciled")]), Timeframe.H1)
    assert roll(400, 9, 9).changed == 0
    with pytest.raises(StoreError, match="outside"):
        store.bars.write_rolled(frame([bar()]), Timeframe.H1, empty)
