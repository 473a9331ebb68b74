"""Archive and retention against a real PostgreSQL: nothing is lost, nothing is doubled, as-of reads stay true.

Guards I9 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.retention import Kept, LookBack, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive import detach, parquet, restore
from crypto_pipeline.store.archive import rows as archive_rows
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, bar, database_clock, frame, miscounted, series

MARCH, APRIL = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
#: March is due, April is not.
NOW = datetime(2025, 5, 3, 12, tzinfo=UTC)


def policy(hot: int = 30, kept: int | None = 90, min_bars: int = 0, trades: Kept | None = None) -> RetentionPolicy:
    forever = Kept(None, None)
    bars = dict.fromkeys(Timeframe, forever) | {one: Kept(hot, kept) for one in (Timeframe.M1, Timeframe.H1)}
    return RetentionPolicy(bars, trades or Kept(7, 7), min_bars)


Make = Callable[..., Retention]


@pytest.fixture
def retention(store: Store, tmp_path: Path) -> Make:
    def make(**chosen: object) -> Retention:
        storage = ArchiveStorage(str(tmp_path / "archive"))
        return Retention(store.connections, storage, tmp_path / "scratch", policy(**chosen))  # type: ignore[arg-type]

    return make


def everything(store: Store, timeframe: Timeframe, as_of: datetime | None = None) -> pl.DataFrame:
    """Bars of table and archive by the plain rule: all copies that were true then, the table's before the file's."""
    moment = as_of or datetime(2099, 1, 1, tzinfo=UTC)
    names = {number: name for name, number in store.instruments.ids().items()}
    span = (timeframe, datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC))
    schema = archive_rows.BAR_FILE
    parts = [store.connections.run(archive_rows.bars, names, *span)]
    parts.append(store.connections.run(archive_rows.revisions, names, *span))
    for kind in ("bars", "revisions"):
        files = store.archive.files(kind, timeframe)
        if files:
            parts.append(store.archive.scan(files).collect())
    never = pl.lit(None, pl.Datetime("us", "UTC")).alias("superseded_at")
    found = pl.concat(
        part.with_columns(
            pl.lit(number).alias("place"), pl.col("superseded_at") if "superseded_at" in part.columns else never
        ).select(*schema, "superseded_at", "place")
        for number, part in enumerate(parts)
    )
    true = found.filter(
        (pl.col("recorded_at") <= moment) & (pl.col("superseded_at").is_null() | (pl.col("superseded_at") > moment))
    )
    best = true.sort("place").unique(["instrument", "open_time"], keep="first")
    return best.sort("instrument", "open_time").select(*schema)


def test_a_month_leaves_and_everything_is_still_there(store: Store, retention: Make) -> None:
    store.bars.write(series(count=3000, start=MARCH + timedelta(days=29)), Timeframe.M1)
    before = everything(store, Timeframe.M1)
    moments = [database_clock(store)]
    store.bars.write(
        series(count=700, start=MARCH + timedelta(days=29), seed=2, revised=timedelta(days=1)), Timeframe.M1
    )
    after = everything(store, Timeframe.M1)
    moments.append(database_clock(store))
    version = store.coverage.version(Timeframe.M1, None, None)
    copies = store.reader.revisions(SYMBOLS, Timeframe.M1, MARCH, APRIL + timedelta(days=1))

    report = retention().run(NOW)

    (done,) = report.archived
    assert (done.rows, str(done.span)) == (2880 * 4, "1m-2025-03")
    assert done.revisions > 0
    for moment, expected in zip([*moments, None], [before, after, after], strict=True):
        assert_frame_equal(everything(store, Timeframe.M1, moment), expected)
    assert copies.height == done.revisions
    assert_frame_equal(store.reader.revisions(SYMBOLS, Timeframe.M1, MARCH, APRIL + timedelta(days=1)), copies)
    assert miscounted(store) == []
    assert store.coverage.version(Timeframe.M1, None, None) == version, "nothing that is known has changed"
    cells = store.coverage.cells([Timeframe.M1], MARCH, APRIL)
    assert cells["present"].sum() == 2880 * 4
    assert store.connections.run(lambda c: c.execute("SELECT count(*) FROM market.ohlc_1m").fetchone()) == (480,)
    assert store.connections.run(lambda c: c.execute("SELECT count(*) FROM market.ohlc_revisions").fetchone()) == (0,)
    tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'ohlc_1m_2025_03%' AND relkind = 'r'"
    assert store.connections.run(lambda c: c.execute(tables).fetchone()) == (0,)
    assert retention().run(NOW).as_dict()["archived_spans"] == 0, "there is nothing left to do"


def test_late_bars_of_an_archived_month_win_and_are_merged(store: Store, retention: Make) -> None:
    store.bars.write(series(count=1440, start=MARCH), Timeframe.M1)
    retention().run(NOW)
    as_known = database_clock(store)
    first = everything(store, Timeframe.M1)
    fresh = [bar(at=MARCH + timedelta(minutes=5), price=500.0), bar(at=MARCH + timedelta(days=2), price=600.0)]
    store.bars.write(frame(fresh), Timeframe.M1)
    assert miscounted(store) == []
    seen = everything(store, Timeframe.M1)

    retention().run(NOW)

    assert miscounted(store) == []
    assert_frame_equal(everything(store, Timeframe.M1), seen)
    assert_frame_equal(everything(store, Timeframe.M1, as_known), first)
    assert len(store.archive.files("bars", Timeframe.M1)) == 1
    cells = store.coverage.cells([Timeframe.M1], MARCH, APRIL)
    assert cells["present"].sum() == 1440 * 4 + 1


def test_the_newest_bars_of_a_series_stay(store: Store, retention: Make) -> None:
    """Three series end in March; of the fourth there are enough newer bars."""
    store.bars.write(series(count=1000, start=MARCH), Timeframe.M1)
    store.bars.write(series((SYMBOLS[0],), 300, APRIL), Timeframe.M1)
    before = everything(store, Timeframe.M1)

    report = retention(min_bars=200).run(NOW)

    assert report.archived[0].kept_hot == 3 * 200
    assert store.connections.run(lambda c: c.execute("SELECT count(*) FROM market.ohlc_1m").fetchone()) == (900,)
    assert_frame_equal(everything(store, Timeframe.M1), before)
    assert miscounted(store) == []
    assert retention(min_bars=200).run(NOW).archived == [], "what stays is not archived again and again"
    store.bars.write(series(count=1, start=MARCH + timedelta(days=3)), Timeframe.M1)
    assert miscounted(store) == []


def test_hours_leave_by_delete_and_come_back(store: Store, retention: Make) -> None:
    store.bars.write(series(count=24 * 40, start=MARCH, timeframe=Timeframe.H1), Timeframe.H1)
    store.bars.write(
        series(count=9, start=MARCH, timeframe=Timeframe.H1, seed=3, revised=timedelta(days=3)), Timeframe.H1
    )
    before = everything(store, Timeframe.H1)
    counts = "SELECT (SELECT count(*) FROM market.ohlc_1h), (SELECT count(*) FROM market.ohlc_revisions)"
    stored = store.connections.run(lambda c: c.execute(counts).fetchone())
    retention().run(NOW)
    assert store.connections.run(lambda c: c.execute(counts).fetchone()) == (9 * 24 * 4, 0)
    assert_frame_equal(everything(store, Timeframe.H1), before)

    files = [file for kind in ("bars", "revisions") for file in store.archive.files(kind, Timeframe.H1)]
    done = restore.restore(store.connections, files, timedelta(days=1))

    assert done.rows["bars"] == 31 * 24 * 4
    assert store.connections.run(lambda c: c.execute(counts).fetchone()) == stored
    assert store.archive.files("bars", Timeframe.H1) == []
    assert_frame_equal(everything(store, Timeframe.H1), before)
    assert miscounted(store) == []
    (waiting,) = retention().run(NOW).waiting
    assert waiting.waits
    assert "restored" in waiting.waits


def test_a_restored_month_of_minutes_is_what_it_was(store: Store, retention: Make) -> None:
    store.bars.write(series(count=3000, start=MARCH + timedelta(days=20)), Timeframe.M1)
    before = everything(store, Timeframe.M1)
    retention().run(NOW)
    restore.restore(store.connections, store.archive.files("bars", Timeframe.M1), timedelta(days=1))
    assert_frame_equal(everything(store, Timeframe.M1), before)
    assert store.connections.run(lambda c: c.execute("SELECT count(*) FROM market.ohlc_1m").fetchone()) == (12000,)
    assert miscounted(store) == []


def test_what_is_too_old_leaves_the_archive_too(store: Store, retention: Make) -> None:
    store.bars.write(series(count=1440, start=MARCH), Timeframe.M1)
    retention().run(NOW)
    (file,) = store.archive.files("bars", Timeframe.M1)
    report = retention().run(NOW + timedelta(days=90))
    assert [str(span) for span in report.expired] == ["1m-2025-03"]
    assert store.archive.files("bars", Timeframe.M1) == []
    assert store.coverage.cells([Timeframe.M1], MARCH, APRIL).is_empty()
    assert Path(file.url.removeprefix("file://")).exists(), "who asked for it a moment ago still reads it"
    store.connections.run(
        lambda c: c.execute("UPDATE market.archive_files SET retired_at = now() - interval '2 hours'") and None
    )
    assert retention().run(NOW).files_removed == 1
    assert not Path(file.url.removeprefix("file://")).exists()


def test_without_an_archive_rows_are_dropped_as_the_policy_says(store: Store, retention: Make) -> None:
    store.bars.write(series(count=1440, start=MARCH), Timeframe.M1)
    store.bars.write(series(count=10, start=APRIL), Timeframe.M1)
    report = retention(hot=30, kept=30, min_bars=15).run(NOW)
    assert report.archived == []
    assert len(everything(store, Timeframe.M1)) == (10 + 5) * 4
    assert miscounted(store) == []


def test_holes_without_a_reason_are_waited_for(store: Store, retention: Make) -> None:
    store.bars.write(series(("BTC-USDT",), 1000, MARCH), Timeframe.M1)
    expected = pl.DataFrame(
        {"instrument": ["BTC-USDT"], "timeframe": ["1m"], "day": [MARCH.date()], "expected": [1440]}
    )
    store.coverage.set_expected(expected)
    (waiting,) = retention().run(NOW).waiting
    assert waiting.waits
    assert "440 bars are missing" in waiting.waits
    assert len(retention().run(NOW + timedelta(days=31)).archived) == 1


def test_damage_is_found_before_anything_leaves(store: Store, retention: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store.bars.write(series(count=1440, start=MARCH), Timeframe.M1)
    put = ArchiveStorage.put

    def damaged(self: ArchiveStorage, path: str, file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        put(self, path, file)

    monkeypatch.setattr(ArchiveStorage, "put", damaged)
    with pytest.raises(StoreError, match="damaged"):
        retention().run(NOW)
    assert store.archive.files("bars", Timeframe.M1) == []
    assert len(everything(store, Timeframe.M1)) == 1440 * 4
    monkeypatch.undo()
    assert len(retention().run(NOW).archived) == 1


def test_a_tally_sees_any_other_value() -> None:
    rows = series(count=50).with_columns(pl.col("revision").cast(pl.Datetime("us", "UTC")).alias("recorded_at"))
    whole = parquet.Tally()
    whole.add(rows)
    for name in BAR_SCHEMA:
        values = rows[name]
        other = values.shift(1).fill_null(values[-1]) if name != "complete" else ~values
        other = pl.Series([*values[:-1], "reconciled"]) if name == "source" else other
        tally = parquet.Tally()
        tally.add(rows.with_columns(other.alias(name)))
        assert whole.difference(tally), name
    assert whole.difference(whole) is None


def test_only_one_run_at_a_time(store: Store, retention: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_pipeline.store.database.sessions.exclusive._MOMENT", "100ms")
    with retention().exclusive(), pytest.raises(StoreError, match="another retention run"):
        retention().run(NOW)


def test_look_backs_must_fit() -> None:
    policy().check([LookBack("the gap monitor", Timeframe.M1, 7)])
    with pytest.raises(ValueError, match=r"the sweep reads 40 days of 1m, of which 30 .* at least 40"):
        policy().check([LookBack("the sweep", Timeframe.M1, 40)])
    with pytest.raises(ValueError, match="KEEP_TRADES_DAYS"):
        policy().check([LookBack("the gap monitor", None, 7.5)])


def test_addresses() -> None:
    with pytest.raises(StoreError, match="ftp://x"):
        ArchiveStorage("ftp://x/y")
    with pytest.raises(StoreError, match="password"):
        ArchiveStorage("s3://key:secret@bucket/x")


@pytest.fixture(autouse=True)
def _symbols(store: Store) -> None:
    add_symbols(store)


def test_a_closed_month_is_put_in_order_once(store: Store, retention: Make) -> None:
    for minute in range(0, 300, 100):  # as live bars come: every instrument for a while, then every instrument again
        store.bars.write(series(count=100, start=MARCH + timedelta(minutes=minute)), Timeframe.M1)
    before = everything(store, Timeframe.M1)
    (done,) = retention().compact(NOW)
    assert done.rows == 1200
    order = "SELECT array_agg(instrument_id ORDER BY ctid) FROM market.ohlc_1m_2025_03"
    found = store.connections.run(lambda c: c.execute(order).fetchone())
    assert found is not None
    assert found[0] == sorted(found[0])
    assert_frame_equal(everything(store, Timeframe.M1), before)
    assert retention().compact(NOW) == []
    store.bars.write(series(count=10, start=MARCH + timedelta(days=9)), Timeframe.M1)
    assert miscounted(store) == []


def test_what_is_past_all_its_time_is_dropped_at_once(store: Store, retention: Make) -> None:
    store.bars.write(series(count=1440, start=MARCH), Timeframe.M1)
    store.bars.write(series(count=50, start=MARCH, timeframe=Timeframe.H1), Timeframe.H1)
    days = [MARCH.date() + timedelta(days=number) for number in range(3)]
    frames = (Timeframe.M1, Timeframe.H1)
    expected = [(name, str(one), day, one.bars_per_cell) for name in SYMBOLS for one in frames for day in days]
    store.coverage.set_expected(
        pl.DataFrame(expected, schema=["instrument", "timeframe", "day", "expected"], orient="row")
    )
    hole = (SYMBOLS[0], MARCH - timedelta(hours=5), MARCH - timedelta(hours=3))
    store.ledger.record(
        pl.DataFrame([hole], schema=["instrument", "start", "end"], orient="row").with_columns(
            pl.col("start", "end").cast(pl.Datetime("ms", "UTC")),
            timeframe=pl.lit("1m"), state=pl.lit("venue_outage"), evidence=pl.lit("{}"),
            next_attempt=pl.lit(None, pl.Datetime("ms", "UTC")),
        )
    )  # fmt: skip

    report = retention(min_bars=20).run(NOW + timedelta(days=90))

    assert report.archived == []
    assert sorted(str(due.span) for due in report.dropped) == ["1h-2025-03", "1m-2025-03"]
    for timeframe in frames:
        assert len(everything(store, timeframe)) == 20 * 4, "the newest stay"
        cells = store.coverage.cells([timeframe], MARCH, APRIL)
        assert cells["expected"].sum() == cells["present"].sum() == 20 * 4, "nothing else is expected"
    assert miscounted(store) == []
    assert store.ledger.open(timeframe=Timeframe.M1).is_empty(), "a hole in what is gone needs no reason"


def test_many_instruments_leave_a_shared_table_a_few_at_a_time(
    store: Store, retention: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose bars change after they were archived stays until the next run."""
    monkeypatch.setattr(detach, "PART_ROWS", 1000)
    store.bars.write(series(count=31 * 24, start=MARCH, timeframe=Timeframe.H1), Timeframe.H1)
    leave, parts = detach._detach_part, []

    def late(connection: Any, span: Any, part: Any, *args: Any, **kwargs: Any) -> Any:
        parts.append(part)
        if len(parts) <= 3:
            assert_frame_equal(read(), now)
        if len(parts) == 3:
            store.bars.write(frame([corrected]), Timeframe.H1)
        return leave(connection, span, part, *args, **kwargs)

    def read() -> pl.DataFrame:
        return store.reader.read(SYMBOLS, Timeframe.H1, MARCH, APRIL)

    now, corrected = read(), bar(SYMBOLS[2], MARCH, price=7.0, source="reconciled")
    monkeypatch.setattr(detach, "_detach_part", late)
    retention().run(NOW)
    monkeypatch.undo()
    assert [len(part) for part in parts] == [1, 1, 1, 1]
    assert miscounted(store) == []
    after = read()
    assert after.filter(instrument=SYMBOLS[2], open_time=MARCH)["close"].item() == 7.5
    hot = store.connections.run(lambda c: c.execute("SELECT count(*) FROM market.ohlc_1h").fetchone())
    assert hot == (31 * 24,), "the one that was changed is still there"

    assert len(retention().run(NOW).archived) == 1

    assert_frame_equal(read(), after)
    assert miscounted(store) == []
    assert store.connections.run(lambda c: c.execute("SELECT count(*) FROM market.ohlc_1h").fetchone()) == (0,)
