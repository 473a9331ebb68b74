"""Many writers at once, and writers whose backends die: the same table, nothing half, no deadlock.

Guards I1 and I7 (docs/invariants.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import polars as pl
import psycopg
import pytest

from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.bars import transaction, writer
from crypto_pipeline_tests.builders.bars import START, SYMBOLS, miscounted, series, stored
from crypto_pipeline_tests.builders.databases import backend
from crypto_pipeline_tests.oracles.precedence import best_copies

M1 = Timeframe.M1


def _from_all_sources(count: int) -> list[pl.DataFrame]:
    """Overlapping bars of every source, each in another order."""
    return [
        series(
            count=count, start=START + timedelta(minutes=200 * place), seed=place, source=source,
            revised=timedelta(seconds=place),
        ).sample(fraction=1, shuffle=True, seed=place)
        for place, source in enumerate(BarOrigin)
    ]  # fmt: skip


def _deadlocks(store: Store) -> int:
    row = store.connections.run(
        lambda connection: connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    )
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("build_rows", [1, 10**9], ids=["months built apart", "months in place"])
def test_writers_of_the_same_bars_take_turns(
    store: Store, bar_database: str, monkeypatch: pytest.MonkeyPatch, build_rows: int
) -> None:
    """Each of the five writers uses two sessions for a frame."""
    monkeypatch.setattr(writer, "BUILD_ROWS", build_rows)
    monkeypatch.setattr(writer, "SHARED_ROWS", 1)
    frames = _from_all_sources(1200)
    before = _deadlocks(store)
    begin = threading.Barrier(len(frames))

    def write(frame: pl.DataFrame) -> int:
        with Store(bar_database, batch_rows=1500, connections=4) as own:
            begin.wait()
            return sum(own.bars.write(part, M1).changed for part in frame.iter_slices(2500))

    with ThreadPoolExecutor(len(frames)) as pool:
        assert all(pool.map(write, frames))
    assert stored(store, M1).equals(best_copies(pl.concat(frames)))
    assert not miscounted(store)
    assert _deadlocks(store) == before


def test_writers_and_the_ledger_take_turns(store: Store, bar_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger states holes under the writers' feet; in the end no bar is both there and explained."""
    monkeypatch.setattr(writer, "SHARED_ROWS", 1)
    bars = series(count=480, start=START + timedelta(hours=20))  # over midnight
    begin, end = START + timedelta(hours=20), START + timedelta(hours=28)
    whole = pl.DataFrame(
        {"instrument": list(SYMBOLS), "timeframe": "1m", "start": begin, "end": end, "state": "lost", "evidence": "{}"}
    )
    store.ledger.record(whole)
    before = _deadlocks(store)

    def write(part: int) -> None:
        with Store(bar_database, connections=4) as own:
            for piece in bars.gather_every(4, offset=part).iter_slices(150):
                own.bars.write(piece, M1)

    def explain(_: int) -> None:
        with Store(bar_database, connections=2) as own:
            for state in ["unfillable", "lost", "no_trade"] * 2:
                own.ledger.record(whole.with_columns(pl.lit(state).alias("state")))

    work: list[tuple[Callable[[int], None], int]] = [(write, 0), (write, 1), (write, 2), (explain, 0)]
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(task, part) for task, part in work]:
            done.result()
    assert _deadlocks(store) == before
    assert not miscounted(store)
    open_rows = store.ledger.open()
    assert open_rows["bars"].sum() == len(SYMBOLS) * 480 // 4  # the quarter that nobody wrote
    explained = open_rows.filter(pl.col("state") != "lost")["bars"].sum()
    assert store.coverage.cells([M1], None, None)["explained"].sum() == explained
    assert store.ledger.healed()["bars"].sum() == len(SYMBOLS) * 480 * 3 // 4


def test_a_frame_of_which_one_part_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other part is stored whole or not begun, the error is raised, and the repeat stores the rest."""
    monkeypatch.setattr(writer, "SHARED_ROWS", 1)
    old, new = series(count=1440), series(count=1440, seed=2, source="reconciled")
    store.bars.write(old, M1)
    real = transaction.write
    ids = store.instruments.ids()
    first = min(ids[name] for name in SYMBOLS)

    def refusing(connection: psycopg.Connection, batch: transaction.Batch) -> transaction.BatchOutcome:
        done = real(connection, batch)
        if batch.cells.instruments[0] == first:
            raise ValueError("no")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(transaction, "write", refusing)
        with pytest.raises(ValueError, match="no"):
            store.bars.write(new, M1)
    before, after = best_copies(old), best_copies(pl.concat([old, new]))
    found = {name: bars for (name,), bars in stored(store, M1).partition_by("instrument", as_dict=True).items()}
    for name, bars in found.items():
        of_it = pl.col("instrument") == name
        whole = [before] if ids[name] == first else [before, after]
        assert any(bars.equals(one.filter(of_it)) for one in whole), name
    assert not miscounted(store)
    assert store.bars.write(new, M1).changed > 0
    assert stored(store, M1).equals(after)


@pytest.mark.parametrize("step", ["_copy", "_replace", "_delete", "_account"])
def test_killed_at_any_step(store: Store, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The backend dies right after each kind of statement, once: nothing of the try remains, the repeat succeeds."""
    old, new = series(count=300), series(count=600, seed=2, source="reconciled")
    store.bars.write(old, M1)
    real = getattr(transaction, step)
    struck: list[int] = []

    def fatal(connection: psycopg.Connection, *args: object) -> None:
        real(connection, *args)
        if not struck:
            struck.append(backend(connection))
            with psycopg.connect(store.connections.url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", struck)
            connection.execute("SELECT 1")

    monkeypatch.setattr(transaction, step, fatal)
    store.bars.write(new, M1)
    assert struck
    assert stored(store, M1).equals(best_copies(pl.concat([old, new])))
    assert not miscounted(store)
    history = store.connections.run(
        lambda connection: connection.execute("SELECT count(*) FROM market.ohlc_revisions").fetchone()
    )
    expected = best_copies(pl.concat([old, new])).join(old, on=["instrument", "open_time"], how="semi")
    assert history == (expected.filter(pl.col("source") == "reconciled").height,)
