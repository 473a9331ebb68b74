"""Bars read back, coverage and disagreements.

Guards I2 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.coverage.coverage import CELL_SCHEMA
from crypto_pipeline.store.coverage.ledger import GAP_SCHEMA
from crypto_pipeline.store.coverage.reconciliations import RECONCILIATION_SCHEMA
from crypto_pipeline.store.reads.bars import READ_SCHEMA
from crypto_pipeline_tests.builders.bars import START, SYMBOLS, bar, frame, series
from crypto_pipeline_tests.oracles.precedence import best_copies

M1, H1, D1, W1 = Timeframe.M1, Timeframe.H1, Timeframe.D1, Timeframe.W1
DAY = timedelta(days=1)


def test_frames_have_their_schema_even_when_empty(store: Store) -> None:
    assert dict(store.reader.read(SYMBOLS, M1, START, START + DAY).schema) == READ_SCHEMA
    assert dict(store.reader.read(SYMBOLS, M1, START, START + DAY, as_of=START).schema) == READ_SCHEMA
    assert dict(store.reader.latest(SYMBOLS, M1).schema) == READ_SCHEMA
    cells = pl.DataFrame({"instrument": ["BTC-USDT"], "day": [START.date()]})
    assert dict(store.reader.cells(cells, M1).schema) == READ_SCHEMA
    assert store.reader.open_times(cells, M1).columns == ["instrument", "open_time"]
    assert dict(store.coverage.cells(list(Timeframe), None, None).schema) == CELL_SCHEMA
    assert dict(store.ledger.open().schema) == GAP_SCHEMA
    assert dict(store.reconciliations.open().schema) == RECONCILIATION_SCHEMA
    assert store.coverage.stale_rollups(H1, None, None).is_empty()
    assert store.coverage.summary().is_empty()
    assert store.coverage.span() == (None, None)
    assert store.reader.read([], M1, START, START + DAY).is_empty()


def test_reads_are_half_open_sorted_and_know_the_average_price(store: Store) -> None:
    bars = series(count=2000)
    store.bars.write(bars, M1)
    begin, end = START + timedelta(minutes=10), START + timedelta(minutes=1500)
    got = store.reader.read(SYMBOLS[::-1], M1, begin, end)
    wanted = best_copies(bars).filter(pl.col("open_time").is_between(begin, end, closed="left"))
    assert got.select(wanted.columns).equals(wanted)
    priced = got.filter(pl.col("volume") > 0)
    assert (priced["vwap"] - priced["quote_volume"] / priced["volume"]).abs().max() == 0
    assert got.filter(pl.col("volume") == 0)["vwap"].null_count() == got.filter(pl.col("volume") == 0).height
    newest = store.reader.latest(SYMBOLS, M1)
    assert newest["open_time"].unique().to_list() == [START + timedelta(minutes=1999)]
    days = pl.DataFrame({"instrument": ["BTC-USDT", "ETH-USDT"], "day": [START.date(), START.date() + DAY]})
    there = store.reader.open_times(days, M1)
    assert there.group_by("instrument").len().sort("instrument").rows() == [("BTC-USDT", 1440), ("ETH-USDT", 560)]
    assert store.reader.cells(days, M1).select(there.columns).equals(there)
    assert store.reader.cells(days.head(1), M1, days=7).height == 2000
    span = store.reader.span(["BTC-USDT"], M1).row(0)
    assert span == ("BTC-USDT", 2000, START, START + timedelta(minutes=1999))


def test_a_superseded_bar_is_the_truth_of_its_time(store: Store) -> None:
    store.bars.write(frame([bar(price=10)]), M1)
    then = store.reader.latest(["BTC-USDT"], M1)["recorded_at"][0]
    store.bars.write(frame([bar(price=20, revision=START + timedelta(hours=2))]), M1)

    def opened(as_of: datetime | None) -> list[float]:
        return store.reader.read(["BTC-USDT"], M1, START, START + DAY, as_of=as_of)["open"].to_list()

    now = store.reader.latest(["BTC-USDT"], M1)["recorded_at"][0]
    tick = timedelta(microseconds=1)
    assert [opened(moment) for moment in (then - tick, then, now - tick, now, None)] == [[], [10], [10], [20], [20]]


def test_bad_questions_have_one_clear_answer(store: Store) -> None:
    with pytest.raises(StoreError, match="unknown instrument 'BTC-USD': did you mean BTC-USDT"):
        store.reader.read(["BTC-USD"], M1, START, START + DAY)
    with pytest.raises(StoreError, match="is after end"):
        store.reader.read(SYMBOLS, M1, START + DAY, START)
    with pytest.raises(ValueError, match="naive"):
        store.reader.read(SYMBOLS, M1, START.replace(tzinfo=None), START + DAY)


def test_expected_cells_are_written_only_where_they_change(store: Store) -> None:
    days = [START.date(), START.date() + DAY]
    cells = pl.DataFrame({"instrument": ["BTC-USDT"] * 2, "timeframe": ["1m"] * 2, "day": days, "expected": [3, 4]})
    assert store.coverage.set_expected(cells) == 2
    assert store.coverage.set_expected(cells) == 0
    store.bars.write(series(("BTC-USDT",), count=3), M1)
    found = store.coverage.cells([M1], None, None)
    assert found.select("day", "expected", "present", "final").rows() == [(days[0], 3, 3, True), (days[1], 4, 0, False)]
    assert store.coverage.set_expected(cells.with_columns(expected=pl.Series([5, 4]))) == 1
    assert store.coverage.cells([M1], START, START + DAY)["final"].to_list() == [False]
    (total,) = store.coverage.summary().to_dicts()
    assert (total["expected"], total["present"], total["missing"]) == (9, 3, 6)
    assert total["newest"] == START + timedelta(minutes=2)
    assert store.coverage.span() == (START, START + 2 * DAY)


def test_cells_expected_alike_are_compared_in_the_database(store: Store) -> None:
    days = [START.date(), START.date() + DAY]
    cells = pl.DataFrame({"timeframe": ["1m", "1m", "1h"], "day": [*days, days[0]], "expected": [1440, 7, 24]})
    assert store.coverage.set_expected_alike(SYMBOLS, cells) == 3 * len(SYMBOLS)
    assert store.coverage.set_expected_alike(SYMBOLS, cells) == 0
    store.bars.write(series(("BTC-USDT",), count=1447), M1)
    grown = cells.with_columns(expected=pl.Series([1440, 8, 24]))
    assert store.coverage.set_expected_alike(["BTC-USDT"], grown) == 1
    found = store.coverage.cells([M1], None, None, ["BTC-USDT"])
    assert found.select("expected", "present", "final").rows() == [(1440, 1440, True), (8, 7, False)]
    assert store.coverage.set_expected_alike(SYMBOLS, cells.clear()) == 0
    alike = pl.concat([cells.with_columns(pl.lit(symbol).alias("instrument")) for symbol in SYMBOLS])
    assert store.coverage.set_expected(alike) == 1


@pytest.mark.parametrize("timeframe", [H1, D1, W1])
def test_one_question_finds_what_is_unfinished(store: Store, timeframe: Timeframe) -> None:
    span = START, START + 7 * DAY

    def found(*timeframes: Timeframe) -> set[Timeframe]:
        return store.coverage.unfinished(dict.fromkeys(timeframes, span), {timeframe: M1}, SYMBOLS)

    def roll() -> None:
        stale = store.coverage.stale_rollups(timeframe, *span)
        store.bars.write_rolled(series((), count=0), timeframe, stale)

    assert found(M1, timeframe) == set()
    store.coverage.set_expected_alike(SYMBOLS, pl.DataFrame({"timeframe": ["1m"], "day": [START], "expected": [5]}))
    assert found(M1, timeframe) == {M1}
    store.bars.write(series(count=5), M1)
    assert found(M1, timeframe) == {timeframe}
    assert found(M1) == set()
    roll()
    assert found(M1, timeframe) == set()
    # a better copy and an explanation change what is rolled up; a day outside of the span is none of its business
    store.bars.write(frame([bar(source="reconciled")]), M1)
    assert found(M1, timeframe) == {timeframe}
    roll()
    hole = {"instrument": "BTC-USDT", "timeframe": "1m", "state": "no_trade", "evidence": "{}"}
    when = {"start": START + 2 * DAY, "end": START + 2 * DAY + timedelta(minutes=1)}
    store.ledger.record(pl.DataFrame([hole | when]))
    assert found(M1, timeframe) == {timeframe}
    roll()
    store.bars.write(frame([bar(at=START + 7 * DAY)]), M1)
    assert found(M1, timeframe) == set()


def test_cells_are_those_that_the_span_touches(store: Store) -> None:
    monday = date(2025, 3, 31)
    store.bars.write(series(count=2, timeframe=W1), W1)
    store.bars.write(series(count=2, timeframe=D1), D1)
    thursday = datetime(2025, 4, 3, tzinfo=UTC)
    assert store.coverage.cells([W1], thursday, thursday + DAY)["day"].unique().to_list() == [monday]
    assert store.coverage.cells([D1], START + DAY / 2, START + DAY)["day"].unique().to_list() == [monday]
    assert store.coverage.cells([D1, W1], None, None, ["ETH-USDT"]).height == 4


@pytest.mark.parametrize("timeframe", [H1, D1, W1])
def test_roll_ups_are_stale_until_built_from_what_is_there(store: Store, timeframe: Timeframe) -> None:
    store.bars.write(series(("BTC-USDT",), count=2880), M1)  # Monday and Tuesday
    stale = store.coverage.stale_rollups(timeframe, None, None)
    assert stale.height == (1 if timeframe is W1 else 2)
    assert stale["day"][0] == START.date()
    store.bars.write_rolled(series((), count=0), timeframe, stale)
    assert store.coverage.stale_rollups(timeframe, None, None).is_empty()
    # a later minute, a better copy, an explanation: each makes exactly its cell stale
    tuesday = START + DAY
    store.bars.write(frame([bar(at=tuesday, source="reconciled")]), M1)
    assert store.coverage.stale_rollups(timeframe, START, START + 7 * DAY).height == 1
    store.bars.write_rolled(series((), count=0), timeframe, store.coverage.stale_rollups(timeframe, None, None))
    hole = {"instrument": "BTC-USDT", "timeframe": "1m", "state": "no_trade", "evidence": "{}"}
    when = {"start": START + 2 * DAY, "end": START + 2 * DAY + timedelta(minutes=1)}
    store.ledger.record(pl.DataFrame([hole | when]))
    assert store.coverage.stale_rollups(timeframe, None, None).height == 1


def test_a_disagreement_is_one_row_until_it_is_resolved(store: Store) -> None:
    found = pl.DataFrame(
        {
            "instrument": ["BTC-USDT"], "timeframe": ["5m"], "open_time": [START], "kind": ["volume"],
            "ours": ['{"volume": 1}'], "theirs": ['{"volume": 2}'], "columns": [["volume"]],
        }
    )  # fmt: skip
    assert store.reconciliations.record(found) == 1
    store.reconciliations.record(found.with_columns(pl.lit('{"volume": 3}').alias("theirs")))
    (row,) = store.reconciliations.open(Timeframe.M5, ["BTC-USDT"], start=START, end=START + DAY).to_dicts()
    assert (row["attempts"], row["theirs"], row["columns"], row["state"]) == (1, '{"volume": 3}', ["volume"], "open")
    assert store.reconciliations.mark_disputed([row["reconciliation_id"]], "it says both") == 1
    assert store.reconciliations.open(states=["open"]).is_empty()
    store.reconciliations.record(found)
    (row,) = store.reconciliations.open().to_dicts()
    assert (row["state"], row["note"], row["attempts"]) == ("disputed", "it says both", 2)
    assert store.reconciliations.resolve([row["reconciliation_id"]]) == 1
    assert store.reconciliations.resolve([row["reconciliation_id"]]) == 0
    assert store.reconciliations.open().is_empty()
    store.reconciliations.record(found)
    assert store.reconciliations.open()["attempts"].to_list() == [0]
