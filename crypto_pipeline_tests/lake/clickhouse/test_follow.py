"""The ClickHouse mirror holds what PostgreSQL holds, whatever was written, corrected, removed, killed or restored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.lake.clickhouse import follow as following
from crypto_pipeline.lake.clickhouse.comparison import compare
from crypto_pipeline.lake.clickhouse.follow import Followed, follow
from crypto_pipeline.lake.clickhouse.tables import MirrorTables
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import START, SYMBOLS, bar, frame, series

BEGIN, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
M1, H1, W1 = Timeframe.M1, Timeframe.H1, Timeframe.W1
USED = (M1, H1, W1)


def followed(store: Store, tables: MirrorTables) -> Followed:
    return follow(store, tables, "test", USED)


def assert_equal(store: Store, tables: MirrorTables) -> None:
    for timeframe in USED:
        ours = tables.bars(SYMBOLS, timeframe, BEGIN, END)
        assert_frame_equal(ours, store.reader.read(SYMBOLS, timeframe, BEGIN, END), check_exact=True)


def remove(store: Store, at: datetime, *, told: bool = True) -> None:
    """Take one minute of BTC-USDT away, as retention does (``told``: False) or with a new version of its cell."""
    number = store.symbols.ids(["BTC-USDT"])["BTC-USDT"]

    def work(connection: Any) -> None:
        who = [number, at]
        connection.execute("DELETE FROM market.ohlc_data WHERE instrument_id = %s AND open_time = %s", who)
        connection.execute(
            "UPDATE market.coverage SET present = present - 1, data_version = data_version + %s::int "
            "WHERE instrument_id = %s AND timeframe = '1m' AND day = %s",
            [int(told), number, at.date()],
        )

    store.connections.run(work)


def test_it_follows_what_is_written_corrected_and_removed(store: Store, tables: MirrorTables) -> None:
    store.bars.write(series(count=300), M1)
    store.bars.write(series(count=50, timeframe=H1), H1)
    store.bars.write(series(count=4, timeframe=W1), W1)
    first = followed(store, tables)
    assert (first.copies_sent, first.bars_removed, first.compared_all) == (4 * 354, 0, False)
    assert_equal(store, tables)
    assert followed(store, tables).cells == 0, "nothing has changed"

    store.bars.write(series(count=20, seed=2, revised=timedelta(hours=2)), M1)
    store.bars.write(frame([bar(at=START + timedelta(minutes=7), source="live_aggregated")]), M1)
    second = followed(store, tables)
    assert 0 < second.copies_sent <= 80
    assert second.bars_read == 4 * 300, "only the cells that changed"
    assert_equal(store, tables)

    remove(store, START + timedelta(minutes=7))
    remove(store, START + timedelta(minutes=9), told=False)
    assert followed(store, tables).bars_removed == 2
    assert_equal(store, tables)
    # a lesser copy than the one that left
    store.bars.write(frame([bar(at=START + timedelta(minutes=7), complete=False)]), M1)
    assert followed(store, tables).copies_sent == 1
    assert_equal(store, tables)
    tables.merge()
    assert_equal(store, tables)


@pytest.mark.parametrize("killed", ["write", "set_states"])
def test_a_killed_run_is_run_again(
    store: Store, tables: MirrorTables, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    store.bars.write(series(count=30), M1)
    done = getattr(tables, killed)

    def work(timeframe: Timeframe, rows: pl.DataFrame) -> None:
        if killed == "write":
            done(timeframe, rows.head(50))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tables, killed, work)
        with pytest.raises(KeyboardInterrupt):
            followed(store, tables)
    # a bar that was sent leaves before the next run
    remove(store, START + timedelta(minutes=3))
    assert not followed(store, tables).compared_all
    assert_equal(store, tables)


def test_a_mirror_of_another_state_of_the_database_is_compared_again(store: Store, tables: MirrorTables) -> None:
    store.bars.write(series(count=30), M1)
    followed(store, tables)
    # a backup is restored: the mirror is ahead, and versions are used a second time
    number = store.symbols.ids(["BTC-USDT"])["BTC-USDT"]
    store.connections.run(
        lambda connection: (
            connection.execute(
                "UPDATE market.ohlc_data SET close = close + 0.1, revision = revision - interval '1 s' "
                "WHERE instrument_id = %s",
                [number],
            )
            and None
        )
    )
    store.connections.run(lambda connection: connection.execute("DELETE FROM lake.clickhouse") and None)
    again = followed(store, tables)
    assert (again.compared_all, again.copies_sent) == (True, 30)
    assert_equal(store, tables)


def test_a_day_that_is_healed_alone_is_read_alone(store: Store, tables: MirrorTables) -> None:
    store.bars.write(series(count=4 * 1440, start=START - timedelta(days=10)), M1)
    followed(store, tables)
    store.bars.write(frame([bar(at=START - timedelta(days=9)), bar("AAVE-USDT", START - timedelta(days=7))]), M1)
    cells = following.due(store, tables, M1)
    assert cells.height == 2
    assert [part.height for part in following._batches(cells, M1)] == [1, 1]


@pytest.mark.parametrize(("timeframe", "periods"), [(M1, 2), (Timeframe.M30, 2), (H1, 1)])
def test_a_batch_is_of_one_partition_and_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch, timeframe: Timeframe, periods: int
) -> None:
    monkeypatch.setattr(following, "BATCH_ROWS", 100_000)
    days = pl.date_range(date(2025, 1, 20), date(2025, 2, 18), eager=True).alias("day")
    rows = pl.lit(timeframe.bars_per_cell, pl.Int64).alias("rows")
    cells = pl.DataFrame({"instrument_id": range(10)}).join(days.to_frame(), how="cross").with_columns(rows)
    batches = list(following._batches(cells, timeframe))
    assert_frame_equal(pl.concat(batches), cells, check_row_order=False, check_column_order=False)
    most = 100_000 + 31 * timeframe.bars_per_cell
    assert max(batch["rows"].sum() for batch in batches) <= most
    assert all(batch["day"].dt.truncate("1mo").n_unique() <= 3 - periods for batch in batches)
    assert len(batches) >= periods


def test_the_comparison_finds_what_differs_and_the_next_run_mends_it(store: Store, tables: MirrorTables) -> None:
    store.bars.write(series(count=100), M1)
    followed(store, tables)
    assert compare(store, tables, USED).differences == []
    number = store.symbols.ids(["ETH-USDT"])["ETH-USDT"]
    one = tables.copies([number], M1, BEGIN, END).head(1)
    tables.write(M1, one.with_columns(close=pl.col("close") + 1, epoch=pl.lit(1, pl.UInt16)))
    found = compare(store, tables, USED)
    assert found.differences == ["ETH-USDT 1m: 1 bars differ on 2025-03-31"]
    assert followed(store, tables).copies_sent == 1
    again = compare(store, tables, USED)
    assert (again.differences, again.bars, again.waiting) == ([], 400, 0)
    assert_equal(store, tables)


def test_an_instrument_that_is_deleted_leaves_the_mirror(store: Store, tables: MirrorTables) -> None:
    store.instruments.add([Instrument.crypto("GONE-USDT")])
    store.bars.write(series(("BTC-USDT", "GONE-USDT"), count=10), M1)
    followed(store, tables)
    number = store.symbols.ids(["GONE-USDT"])["GONE-USDT"]

    def work(connection: Any) -> None:
        for table in ("market.ohlc_data", "market.coverage", "market.instruments"):
            connection.execute(f"DELETE FROM {table} WHERE instrument_id = %s", [number])

    store.connections.run(work)
    assert followed(store, tables).bars_removed == 10
    assert tables.copies([number], M1, BEGIN, END)["removed"].all()
    assert followed(store, tables).cells == 0
