"""The ledger against a model that is a plain dictionary: minute → state.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.coverage.ledger import STATES, WAITING
from crypto_pipeline.store.coverage.ledger_closing import cut
from crypto_pipeline_tests.builders.bars import START, bar, empty_tables, frame, miscounted

BTC, ETH = "BTC-USDT", "ETH-USDT"
WIDE = [Timeframe.M1, Timeframe.H4, Timeframe.W1]


def gap(
    timeframe: Timeframe, first: int, last: int, state: str, symbol: str = BTC, evidence: str = "{}"
) -> dict[str, Any]:
    """Bars ``first`` to ``last`` (exclusive) around START, counted in widths from 5 bars before."""
    origin = timeframe.floor(START) - 5 * timeframe.delta
    return {
        "instrument": symbol,
        "timeframe": str(timeframe),
        "start": origin + first * timeframe.delta,
        "end": origin + last * timeframe.delta,
        "state": state,
        "evidence": evidence,
    }


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("record"),
            # cuts of the line into neighbouring spans, some of which are left out
            st.lists(st.tuples(st.integers(0, 20), st.sampled_from([*STATES, None])), min_size=2, max_size=5),
        ),
        st.tuples(st.just("write"), st.lists(st.integers(0, 19), min_size=1, max_size=8)),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeframe=st.sampled_from(WIDE), doings=steps)
def test_records_and_arriving_bars_never_contradict_each_other(
    store: Store, timeframe: Timeframe, doings: list[tuple[str, list[Any]]]
) -> None:
    empty_tables(store)
    origin = timeframe.floor(START) - 5 * timeframe.delta
    absent: dict[int, str] = {}
    present: set[int] = set()
    healed: set[int] = set()
    for what, details in doings:
        if what == "record":
            edges = sorted(dict(details).items())
            rows = [
                gap(timeframe, first, last, state) for (first, state), (last, _) in itertools.pairwise(edges) if state
            ]
            if rows:
                store.ledger.record(pl.DataFrame(rows))
            for (first, state), (last, _) in itertools.pairwise(edges):
                absent |= {place: state for place in range(first, last) if state and place not in present}
        else:
            arriving = frame([bar(BTC, origin + place * timeframe.delta) for place in set(details)])
            store.bars.write(arriving, timeframe)
            healed |= {place for place in details if absent.pop(place, None)}
            present |= set(details)
        _agree(store, timeframe, absent, healed)
        assert not miscounted(store)


def _agree(store: Store, timeframe: Timeframe, absent: dict[int, str], healed: set[int]) -> None:
    """What the tables say equals the model."""
    origin = timeframe.floor(START) - 5 * timeframe.delta

    def places(rows: pl.DataFrame) -> list[tuple[int, str]]:
        found = []
        for row in rows.iter_rows(named=True):
            first, last = (int((row[name] - origin) / timeframe.delta) for name in ("start", "end"))
            assert last - first == row["bars"]
            found += [(place, row["state"]) for place in range(first, last)]
        return sorted(found)

    assert places(store.ledger.open()) == sorted(absent.items())  # in particular each place once
    assert {place for place, _ in places(store.ledger.healed())} == healed
    cells = store.coverage.cells([timeframe], None, None)
    counted = {day: explained for day, explained in cells.select("day", "explained").iter_rows() if explained}
    model: dict[Any, int] = {}
    for place, state in absent.items():
        if state not in WAITING:
            moment = origin + place * timeframe.delta
            model[moment.date()] = model.get(moment.date(), 0) + 1
    assert counted == model


@given(there=st.sets(st.integers(0, 30)), first=st.integers(0, 30), length=st.integers(1, 10))
def test_a_row_is_cut_into_what_is_there_and_what_is_not(there: set[int], first: int, length: int) -> None:
    import numpy as np

    width, last = 60, first + length
    inside = sorted(place for place in there if first <= place < last)
    pieces = cut(7, first * width, last * width, np.array(inside, np.int64) * width, width)
    if not inside:
        assert pieces == []
        return
    assert [(piece.start, piece.end) for piece in pieces] == [
        (one, other)
        for one, other in zip(
            [first * width, *(piece.end for piece in pieces[:-1])], [piece.end for piece in pieces], strict=True
        )
    ]
    assert pieces[-1].end == last * width
    for piece in pieces:
        assert all((place in there) == piece.healed for place in range(piece.start // width, piece.end // width))


def test_a_row_remembers_when_it_was_seen_and_how_often_it_was_asked_for(store: Store) -> None:
    lost = pl.DataFrame([gap(Timeframe.M1, 0, 10, "lost", evidence='{"asked": 1}')])
    later = datetime(2099, 1, 1, tzinfo=UTC)
    store.ledger.record(lost)
    store.ledger.record(lost, next_attempt=later)
    (row,) = store.ledger.open().to_dicts()
    assert (row["attempts"], row["next_attempt"], row["evidence"]) == (2, later, '{"asked": 1}')
    store.ledger.record(pl.DataFrame([gap(Timeframe.M1, 4, 6, "unfillable")]))
    parts = store.ledger.open()
    assert parts["state"].to_list() == ["lost", "unfillable", "lost"]
    assert parts["attempts"].to_list() == [2, 2, 2]
    assert parts["first_seen"].n_unique() == 1
    assert parts["gap_id"].n_unique() == 3
    assert parts["gap_id"][0] == row["gap_id"]
    assert store.ledger.due().is_empty()
    assert store.ledger.due(later).height == 2
    assert store.ledger.counts() == {("1m", "lost"): 8, ("1m", "unfillable"): 2}


def test_the_market_decides_when_a_row_is_due(store: Store) -> None:
    """Next attempts are written by the venue's clock: of a recording they all lie years before ours."""
    then = datetime(2021, 4, 20, tzinfo=UTC)
    store.clock.learn("replay", then)
    store.ledger.record(pl.DataFrame([gap(Timeframe.M1, 0, 10, "lost")]), next_attempt=then + timedelta(hours=1))
    assert store.ledger.due().is_empty()
    store.clock.learn("replay", then + timedelta(hours=2))
    assert store.ledger.due().height == 1


def test_a_person_reopens_a_row(store: Store) -> None:
    store.ledger.record(pl.DataFrame([gap(Timeframe.M1, 0, 10, "unfillable")]))
    cells = store.coverage.cells([Timeframe.M1], None, None)
    assert cells["explained"].sum() == 10
    (number,) = store.ledger.open()["gap_id"]
    store.ledger.reopen(number, "the venue says it is back")
    (row,) = store.ledger.open().to_dicts()
    assert (row["state"], row["attempts"], row["note"]) == ("lost", 0, "the venue says it is back")
    assert store.ledger.due()["gap_id"].to_list() == [number]
    assert store.coverage.cells([Timeframe.M1], None, None)["explained"].sum() == 0
    origin = START - timedelta(minutes=5)
    store.bars.write(frame([bar(BTC, origin + timedelta(minutes=place)) for place in range(10)]), Timeframe.M1)
    (row,) = store.ledger.healed().to_dicts()
    assert row["gap_id"] == number
    assert '"was": "lost"' in row["evidence"]
    with pytest.raises(StoreError, match="closed"):
        store.ledger.reopen(number, "again")
    with pytest.raises(StoreError, match="no row"):
        store.ledger.reopen(10**9, "never was")


def test_only_a_change_of_what_is_explained_is_a_new_data_version(store: Store) -> None:
    def version() -> str:
        return store.coverage.version(Timeframe.M1, None, None)

    lost = pl.DataFrame([gap(Timeframe.M1, 6, 10, "lost"), gap(Timeframe.M1, 0, 3, "lost", ETH)])
    store.ledger.record(lost)
    first = version()
    store.ledger.record(lost)
    assert version() == first
    explained = lost.with_columns(pl.lit("venue_outage").alias("state"))
    store.ledger.record(explained)
    second = version()
    assert second != first
    store.ledger.record(explained)
    assert version() == second


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"state": "gone"}, "state that is none of"),
        ({"end": START}, "ends before"),
        ({"start": START + timedelta(seconds=1)}, "grid"),
        ({"timeframe": "2m"}, "unknown timeframe"),
        ({"instrument": "NO-SUCH"}, "unknown instrument"),
    ],
)
def test_a_row_that_cannot_be_is_refused(store: Store, fault: dict[str, Any], words: str) -> None:
    good = gap(Timeframe.M1, 5, 10, "lost")
    with pytest.raises((StoreError, ValueError), match=words):
        store.ledger.record(pl.DataFrame([good | fault]))
    with pytest.raises(StoreError, match="overlaps"):
        store.ledger.record(pl.DataFrame([good, gap(Timeframe.M1, 9, 11, "lost")]))
    assert store.ledger.open().is_empty()
