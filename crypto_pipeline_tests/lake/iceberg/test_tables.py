"""Iceberg tables over files of the archive: every bar once, at every moment, and no file goes that a snapshot lists.

Guards I7 and I10 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive import restore
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.iceberg.listed_files import forget_tables, pending
from crypto_pipeline.store.mirror.catalogue import disown
from crypto_pipeline_tests.builders.bars import SYMBOLS, series

pytest.importorskip("pyiceberg", reason="needs the extra iceberg")

from pyiceberg.table import StaticTable, Table

from crypto_pipeline.lake.iceberg.catalogue import open_catalogue
from crypto_pipeline.lake.iceberg.tables import FollowedTable, IcebergTables

MARCH, APRIL = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
#: March is due for the archive.
NOW = datetime(2025, 5, 3, 12, tzinfo=UTC)
BARS = "market.bars_1m"


@pytest.fixture
def retention(store: Store, tmp_path: Path) -> Retention:
    forever = Kept(None, None)
    bars = dict.fromkeys(Timeframe, forever) | {Timeframe.M1: Kept(30, 90)}
    storage = ArchiveStorage(str(tmp_path / "archive"))
    return Retention(store.connections, storage, tmp_path / "scratch", RetentionPolicy(bars, Kept(7, 7), 0))


Tables = Callable[..., IcebergTables]


@pytest.fixture
def tables(store: Store, tmp_path: Path) -> Tables:
    def make(keep: timedelta = timedelta(hours=1)) -> IcebergTables:
        return IcebergTables(store.connections, str(tmp_path / "ice berg"), keep)

    return make


def by_name(done: list[FollowedTable]) -> dict[str, FollowedTable]:
    return {str(one.name): one for one in done}


def rows(table: Table) -> pl.DataFrame:
    found = pl.from_arrow(table.scan().to_arrow())
    assert isinstance(found, pl.DataFrame)
    return found.sort("instrument", "open_time")


def load(store: Store, name: str = BARS) -> Table:
    with open_catalogue(store.connections.url) as catalogue:
        return catalogue.load_table(name)


def in_archive(store: Store) -> pl.DataFrame:
    """The rows of the archive's files, in the types that Iceberg has."""
    found = store.archive.scan(store.archive.files("bars", Timeframe.M1)).drop("vwap").collect()
    return found.with_columns(pl.col(pl.Datetime).cast(pl.Datetime("us", "UTC"))).sort("instrument", "open_time")


def to_do(store: Store, keep: timedelta = timedelta(hours=1)) -> int:
    return store.connections.run(pending, keep)


def folder(store: Store) -> Path:
    return Path(load(store).location().removeprefix("file://"))


def test_an_archived_month_is_read_by_any_reader_of_iceberg(store: Store, retention: Retention, tables: Tables) -> None:
    store.bars.write(series(count=300, start=MARCH), Timeframe.M1)
    store.bars.write(series(count=9, start=MARCH, seed=2, revised=timedelta(days=1)), Timeframe.M1)
    retention.run(NOW)

    done = by_name(tables().follow())

    files = {f"market.{file.kind}_1m": (1, file.rows) for file in store.archive.files(None)}
    assert {name: (one.files, one.rows) for name, one in done.items()} == files
    assert (files[BARS], len(files)) == ((1, 1200), 2)
    table = load(store)
    expected = in_archive(store)
    assert_frame_equal(rows(table).select(expected.columns), expected)
    one = table.scan("instrument = 'ETH-USDT' and open_time < '2025-03-01T00:10:00+00:00'").to_arrow()
    assert one.num_rows == 10
    assert all(field.doc for field in table.schema().fields), "every column says what it holds"
    by_folder = StaticTable.from_metadata(table.location())
    assert_frame_equal(rows(by_folder), rows(table))
    again = by_name(tables().follow())[BARS]
    assert (again.added, again.removed, again.metadata_location) == (0, 0, table.metadata_location)
    assert to_do(store) == 0


def test_a_restored_month_leaves_and_its_file_stays_for_those_who_read_it(
    store: Store, retention: Retention, tables: Tables
) -> None:
    store.bars.write(series(count=100, start=MARCH), Timeframe.M1)
    retention.run(NOW)
    tables().follow()
    before = load(store)
    expected = rows(before)

    restore.restore(store.connections, store.archive.files(None), timedelta(0))
    store.connections.run(
        lambda connection: (
            connection.execute("UPDATE market.archive_files SET retired_at = now() - interval '1 day'") and None
        )
    )
    assert retention.archiver.remove_retired() == 0, "the table lists it still"
    assert to_do(store) == 1
    done = by_name(tables().follow())[BARS]
    assert (done.files, done.removed, done.expired) == (0, 1, 0)
    assert (to_do(store), to_do(store, timedelta(0))) == (0, 1), "an earlier snapshot may still be read"
    assert retention.archiver.remove_retired() == 0, "an earlier snapshot lists it"
    assert rows(load(store)).is_empty()
    assert_frame_equal(rows(before), expected)

    done = by_name(tables(timedelta(0)).follow())[BARS]
    assert done.expired == 1
    assert retention.archiver.remove_retired() == 1
    assert len(load(store).snapshots()) == 1


def test_what_a_killed_commit_left_is_removed_and_never_read(
    store: Store, retention: Retention, tables: Tables
) -> None:
    store.bars.write(series(count=100, start=MARCH), Timeframe.M1)
    retention.run(NOW)
    tables().follow()
    table = load(store)
    metadata = folder(store) / "metadata"
    known = sorted(metadata.iterdir())
    newest = Path(table.metadata_location.removeprefix("file://"))
    never = metadata / "00077-00000000-0000-0000-0000-000000000000.metadata.json"
    never.write_bytes(newest.read_bytes())
    (metadata / "00000000-0000-0000-0000-000000000000-m0.avro").write_bytes(b"half")
    (metadata / "note.txt").write_text("a person's")
    (metadata / "version-hint.text").write_text("00000-gone")

    done = by_name(tables().follow())[BARS]

    assert (done.added, done.removed) == (0, 0)
    assert not never.exists(), "a reader that takes the latest version would read it"
    assert (metadata / "version-hint.text").read_text() == newest.name.removesuffix(".metadata.json")
    young = metadata / "00000000-0000-0000-0000-000000000000-m0.avro"
    assert young.exists(), "somebody may be writing it"
    from crypto_pipeline.lake.iceberg.snapshots import own_files
    from crypto_pipeline.lake.iceberg.table_folder import TableFolder
    from crypto_pipeline.lake.iceberg.table_names import TableName

    url = str(metadata.parent.parent.parent)
    later = datetime.now(UTC) + timedelta(hours=2)
    assert TableFolder(url, TableName.parse(BARS)).sweep(own_files(table), now=later) == 1
    assert sorted(metadata.iterdir()) == sorted([*known, metadata / "note.txt"])
    assert rows(load(store)).height == 400


def test_lost_metadata_is_made_again(store: Store, retention: Retention, tables: Tables) -> None:
    store.bars.write(series(count=100, start=MARCH), Timeframe.M1)
    retention.run(NOW)
    tables().follow()
    expected = rows(load(store))
    for file in (folder(store) / "metadata").iterdir():
        file.unlink()

    assert by_name(tables().follow())[BARS].added == 1
    assert_frame_equal(rows(load(store)), expected)

    assert [str(name) for name in tables().drop()] == [BARS]
    assert not list((Path(retention.archiver.storage.folder or "") / ".." / "ice berg").rglob("*.json"))
    assert len(store.archive.files(None)) == 1, "files of the archive stay"
    assert tables().follow()[0].rows == 400


def test_a_file_that_is_damaged_is_said_and_the_others_are_listed(
    store: Store, retention: Retention, tables: Tables
) -> None:
    store.bars.write(series(SYMBOLS[:1], count=100, start=MARCH - timedelta(days=28)), Timeframe.M1)
    store.bars.write(series(SYMBOLS[:1], count=100, start=MARCH), Timeframe.M1)
    retention.run(NOW)
    file = store.archive.files("bars", Timeframe.M1)[0]
    place = Path(file.url.removeprefix("file://"))
    whole = place.read_bytes()
    place.unlink()
    place.write_bytes(whole[:-9])

    done = by_name(tables().follow())[BARS]

    assert (done.files, done.rows) == (1, 100)
    assert len(done.unreadable) == 1
    assert file.path in done.unreadable[0]
    place.write_bytes(whole)
    assert by_name(tables().follow())[BARS].rows == 200


STATE = ("iceberg.iceberg_tables", "iceberg.listed_files", "market.archive_files")


def saved(connection: psycopg.Connection[Any]) -> dict[str, bytes]:
    """What a backup has of the catalogues."""
    found = {}
    for name in STATE:
        with connection.cursor().copy(f"COPY {name} TO STDOUT (FORMAT binary)") as out:
            found[name] = b"".join(bytes(part) for part in out)
    return found


def put_back(connection: psycopg.Connection[Any], state: dict[str, bytes]) -> None:
    for name, rows in state.items():
        connection.execute(f"DELETE FROM {name}")
        with connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT binary)") as into:
            into.write(rows)


def test_a_catalogue_older_than_the_folder_names_no_file_that_is_gone(
    store: Store, retention: Retention, tables: Tables
) -> None:
    """A server was set back to an earlier state, while files and metadata are those of later runs."""
    run, february = store.connections.run, MARCH - timedelta(days=28)
    store.bars.write(series(SYMBOLS[:1], count=100, start=february), Timeframe.M1)
    store.bars.write(series(SYMBOLS[:1], count=90, start=MARCH), Timeframe.M1)
    retention.run(NOW)
    tables().follow()
    before, known = run(saved), set((folder(store) / "metadata").iterdir())
    # later February leaves the archive
    restore.restore(store.connections, store.archive.files(None, None, february, MARCH), timedelta(0))
    for _ in range(2):
        tables(timedelta(0)).follow()
    run(
        lambda connection: (
            connection.execute("UPDATE market.archive_files SET retired_at = '2025-01-01' WHERE status = 'retired'")
            and None
        )
    )
    assert retention.archiver.remove_retired() == 1
    later = set((folder(store) / "metadata").glob("*.json")) - known

    run(put_back, before)
    done = by_name(tables().follow())[BARS]
    assert (done.rows, done.removed, len(done.unreadable)) == (90, 1, 1)
    assert done.unreadable[0].endswith("missing")
    assert rows(load(store)).height == rows(StaticTable.from_metadata(load(store).location())).height == 90
    assert not any(file.exists() for file in later), "metadata that this catalogue never had"

    run(put_back, before)
    for file in known:
        if file.suffix == ".avro":
            file.unlink(missing_ok=True)  # as an hour later
    done = by_name(tables().follow())[BARS]
    assert (done.rows, done.added, len(done.unreadable)) == (90, 1, 1)
    assert rows(load(store)).height == rows(StaticTable.from_metadata(load(store).location())).height == 90


def test_a_copy_of_the_database_leaves_the_tables_of_the_original_alone(
    store: Store, retention: Retention, tables: Tables, tmp_path: Path
) -> None:
    store.bars.write(series(SYMBOLS[:1], count=100, start=MARCH), Timeframe.M1)
    retention.run(NOW)
    tables().follow()
    place, metadata = load(store).location(), set((folder(store) / "metadata").iterdir())

    elsewhere = IcebergTables(store.connections, str(tmp_path / "elsewhere"))
    assert by_name(elsewhere.follow())[BARS].added == 1, "the catalogue was copied, the place is another one"
    assert load(store).location() != place
    assert set(metadata) == set(Path(place.removeprefix("file://"), "metadata").iterdir())

    store.connections.run(disown)
    store.connections.run(forget_tables)  # as a restore does
    with pytest.raises(StoreError, match="belongs to another database: set another iceberg_url"):
        tables().follow()
    taken = IcebergTables(store.connections, str(tmp_path / "ice berg"), take_over=True)
    assert by_name(taken.follow())[BARS].added == 1
    assert not metadata & set((folder(store) / "metadata").glob("*.json"))
