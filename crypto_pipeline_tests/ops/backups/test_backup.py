"""Backups of a database at work, read back, restored, and turned away when they are damaged."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import Timeframe
from crypto_pipeline.ops.backups import backup, files
from crypto_pipeline.ops.backups.files import Backup, Manifest
from crypto_pipeline.ops.backups.restore import restore
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.iceberg import listed_files
from crypto_pipeline_tests.builders.background import Background
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, miscounted, series
from crypto_pipeline_tests.builders.places import server_folder
from crypto_pipeline_tests.store.archive import test_archive


def silent(text: str) -> None:
    pass


@pytest.fixture
def folder() -> Iterator[Path]:
    # short and open to all, as PostgreSQL needs it
    path = server_folder("cp-backup-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def source(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url, batch_rows=1000) as store:
        add_symbols(store)
        store.bars.write(series(count=2000, start=_ago(days=2)), Timeframe.M1)
        yield store


def _ago(**span: float) -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(**span)


def make(source: Store, folder: Path, **settings: object) -> Backup:
    chosen = load_settings(data_dir=folder, database_url=source.url, **settings)
    return backup.make(chosen, source.url, source.size_bytes(), silent)


class Writers(Background):
    """Bars, revisions and new months, from two threads, until the block ends."""

    def __init__(self, store: Store) -> None:
        self.writes = 0
        self._store = store
        super().__init__(partial(self._write, number) for number in range(2))

    def _write(self, number: int) -> None:
        seed = number
        while not self.stopping.is_set():
            seed += 2
            start = _ago(days=2 + 40 * (seed % 3))
            bars = series(SYMBOLS[number : number + 2], 700, start, seed=seed, revised=timedelta(seconds=seed))
            self._store.bars.write(bars, Timeframe.M1)
            self.writes += 1


@pytest.mark.own_server
def test_a_backup_under_way_of_writers_restores_to_a_store_that_is_right(source: Store, folder: Path) -> None:
    with Writers(source) as writers:
        made = make(source, folder)
        while writers.writes < 4:  # however quick the backup was, the original has moved on
            threading.Event().wait(0.01)
    assert made.manifest.verified_at is not None
    target = load_settings(data_dir=folder / "copy")
    restore(target, made, silent)
    with EmbeddedServer(target.data_dir).running() as url, Store(url) as copy:
        rows = {table: rows for table, (rows, _) in made.manifest.tables["market"].items()}
        assert sum(rows for table, rows in rows.items() if table.startswith("market.ohlc_1m_")) > 4 * 1999
        assert miscounted(copy) == []
        for view in ("ohlc_today", "ohlc_recent", "instrument_summary"):
            assert copy.views.differences(view).is_empty()
        _assert_checks_pass(copy)
        # the past is the same in both, whatever has superseded it meanwhile
        known = made.manifest.created_at - timedelta(seconds=2)
        ours, theirs = (
            one.reader.read(SYMBOLS, Timeframe.M1, _ago(days=3), _ago(), as_of=known) for one in (copy, source)
        )
        assert ours.drop("revision").equals(theirs.drop("revision"))
        assert copy.bars.write(series(count=10, start=_ago(minutes=20)), Timeframe.M1).inserted > 0


@pytest.mark.own_server
def test_the_archive_comes_along_and_moves(source: Store, folder: Path) -> None:
    source.bars.write(series(count=3000, start=test_archive.MARCH), Timeframe.M1)
    before = test_archive.everything(source, Timeframe.M1)
    storage = ArchiveStorage(str(folder / "archive"))
    archived = Retention(source.connections, storage, folder / "scratch", test_archive.policy()).run(test_archive.NOW)
    assert len(archived.archived) == 1
    listed = "INSERT INTO iceberg.listed_files (base_url, path, table_name) VALUES ('file:///m', 'a', 'market.bars_1m')"
    source.connections.run(lambda connection: connection.execute(listed) and None)
    made = make(source, folder)
    assert len(made.manifest.archive) >= 1
    again = make(source, folder)
    assert again.manifest.archive == made.manifest.archive
    shutil.rmtree(folder / "archive")
    target = load_settings(data_dir=folder / "copy")
    restore(target, again, silent)
    with EmbeddedServer(target.data_dir).running() as url, Store(url) as copy:
        assert {file.base_url for file in copy.archive.files()} == {f"file://{folder}/copy/archive"}
        assert test_archive.everything(copy, Timeframe.M1).equals(before)
        assert miscounted(copy) == []
        assert copy.connections.run(listed_files.count) == 0, "the original's Iceberg tables are not the copy's"
    kept = next(path for path in (folder / "backups" / "archive").rglob("*") if path.is_file())
    kept.write_bytes(b"spoilt")
    with pytest.raises(OpsError, match=r"archive file .* differs from what was written"):
        backup.verify(again, silent)


def test_a_killed_restore_leaves_nothing_and_is_repeated(source: Store, folder: Path) -> None:
    made = make(source, folder)
    target = folder / "copy"
    command = [sys.executable, "-m", "crypto_pipeline.cli", "restore", str(made.folder), "--data-dir", str(target)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTO_PIPELINE_")}
    process = subprocess.Popen(command, env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(target.glob("restoring/*/postgres/data/PG_VERSION")):
        assert process.poll() is None
        threading.Event().wait(0.01)
    process.kill()
    process.wait()
    assert not (target / "postgres").exists()
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "restored" in done.stdout
    assert not (target / "restoring").exists()
    with EmbeddedServer(target).running() as url, Store(url) as copy:
        assert copy.reader.span(SYMBOLS, Timeframe.M1)["rows"].sum() == 4 * 2000


def _assert_checks_pass(store: Store) -> None:
    from crypto_pipeline.healing.checks.stored_bars import no_future_bars, ohlc_sanity, rollup_conservation

    now = datetime.now(UTC)
    for timeframe in Timeframe:
        for check in (ohlc_sanity, rollup_conservation):
            outcome = check(store, timeframe, now - timedelta(days=200), now)
            assert outcome.passed, outcome.summary
        assert no_future_bars(store, timeframe, now).passed


def test_a_damaged_backup_is_refused(source: Store, folder: Path) -> None:
    made = make(source, folder)
    backup.verify(made, silent)
    name = max(made.manifest.files, key=lambda name: made.manifest.files[name][0])
    path = made.folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(OpsError, match="differs from what was written"):
        restore(load_settings(data_dir=folder / "copy"), made, silent)
    path.unlink()
    with pytest.raises(OpsError, match="lacks its file"):
        backup.verify(made, silent)
    path.write_bytes(whole)
    tables = made.manifest.tables["market"]
    table = next(table for table in tables if table.startswith("market.ohlc_1m_"))
    tables[table] = (tables[table][0] + 1, tables[table][1])
    with pytest.raises(OpsError, match=r"rows, not"):
        backup.verify(made, silent)
    (made.folder / "manifest.json").write_text("{")
    assert files.complete(folder / "backups") == []
    with pytest.raises(OpsError, match=r"cannot read .*manifest"):
        Manifest.read(made.folder)
    assert not (folder / "copy" / "postgres").exists()


def test_the_newest_are_kept_and_what_a_kill_left_goes(source: Store, folder: Path) -> None:
    first = make(source, folder, backup_keep=1)
    (folder / "backups" / "2026-01-01T00-00-00Z.partial").mkdir()
    (folder / "backups" / "archive" / "bars").mkdir(parents=True)
    (folder / "backups" / "archive" / "bars" / "orphan.parquet").write_bytes(b"1")
    second = make(source, folder, backup_keep=1)
    assert [one.folder for one in files.complete(folder / "backups")] == [second.folder]
    assert not first.folder.exists()
    assert not list((folder / "backups").rglob("*.partial")) + list((folder / "backups").rglob("orphan*"))


def test_backups_of_one_second_stand_beside_each_other_and_the_newest_stays(folder: Path) -> None:
    moment = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
    names = []
    for turn in range(12):
        made = files.new_folder(folder, moment)
        made.mkdir()
        at = moment + timedelta(milliseconds=turn)
        Manifest(at, "0", 15, [], {"market": {}}, {}, verified_at=at).write(made)
        names.append(made.name)
        files.prune(folder, 3)
    assert names[:2] == ["2026-11-21T03-30-00Z", "2026-11-21T03-30-00Z-2"]
    kept = files.complete(folder)
    assert [one.manifest.created_at.microsecond // 1000 for one in kept] == [9, 10, 11]
    assert [one.folder.name for one in kept] == names[-3:]


@pytest.mark.own_server
def test_a_database_that_is_there_is_not_overwritten(source: Store, folder: Path) -> None:
    made = make(source, folder)
    with pytest.raises(OpsError, match="is not empty"):
        restore(load_settings(data_dir=folder, database_url=source.url), made, silent)
    target = load_settings(data_dir=folder / "copy")
    with EmbeddedServer(target.data_dir).running():
        pass
    with pytest.raises(OpsError, match="--replace"):
        restore(target, made, silent)
    restore(target, made, silent, replace=True)
    assert len(list(target.data_dir.glob("postgres.before-*"))) == 1
    with EmbeddedServer(target.data_dir).running() as url, Store(url) as copy:
        assert copy.reader.span(SYMBOLS, Timeframe.M1)["rows"].sum() == 4 * 2000


def test_no_room_is_told_before_anything_is_written(source: Store, folder: Path) -> None:
    settings: Settings = load_settings(data_dir=folder, database_url=source.url)
    with pytest.raises(OpsError, match="GB free, a backup may need"):
        backup.make(settings, source.url, 10**18, silent)
    assert files.complete(folder / "backups") == []


@given(
    st.lists(st.tuples(st.sampled_from(["a.x", "market.ohlc_1m", "t"]), st.lists(st.text("a\t\\N.", max_size=6)))),
    st.integers(1, 40),
)
def test_rows_are_counted_wherever_the_stream_is_cut(blocks: list[tuple[str, list[str]]], piece: int) -> None:
    text = "--\n-- dump\n--\n\n"
    for table, rows in blocks:
        rows[:] = [row for row in rows if row != "\\."]
        body = "".join(f"{row}\n" for row in rows)
        text += f"COPY {table} (one, two) FROM stdin;\n{body}\\.\n\n\nSELECT 1;\n"
    stream = io.BytesIO(text.encode())

    class Cut(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return stream.read(piece)

    assert list(files.copied_rows(Cut())) == [(table, len(rows)) for table, rows in blocks]
