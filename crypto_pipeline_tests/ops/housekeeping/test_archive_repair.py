"""Damaged archive files: never read, found in turn, named, brought back from backups or fetched again.

Guards I9 (docs/invariants.md).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market import Timeframe
from crypto_pipeline.ops.backups import backup, files
from crypto_pipeline.ops.housekeeping import archive_repair
from crypto_pipeline.ops.housekeeping.table_proofs import ARCHIVE_CHECK, prove_archive, prove_tables
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive import proof
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.object_store import ArchiveStorage, local_path
from crypto_pipeline.store.archive.proof import DamagedFileError, forget_proofs
from crypto_pipeline.store.archive.repair import give_up
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, miscounted, series
from crypto_pipeline_tests.builders.files import flip
from crypto_pipeline_tests.store.archive.test_archive import APRIL, MARCH, NOW, policy

FLIPS = 40


def silent(text: str) -> None:
    pass


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path, database_url=postgres_url, keep_min_bars=0)


def retention(store: Store, folder: Path) -> Retention:
    return Retention(store.connections, ArchiveStorage(str(folder / "archive")), folder / "scratch", policy())


@pytest.fixture
def store(postgres_url: str, tmp_path: Path) -> Iterator[Store]:
    """March is archived, with earlier copies of some bars."""
    with Store(postgres_url) as opened:
        add_symbols(opened)
        opened.bars.write(series(count=2000, start=MARCH), Timeframe.M1)
        opened.bars.write(series(count=50, start=MARCH, seed=2, revised=timedelta(days=1)), Timeframe.M1)
        retention(opened, tmp_path).run(NOW)
        forget_proofs()
        yield opened


def the_file(store: Store, kind: str = "bars") -> ArchiveFile:
    (file,) = [one for one in store.archive.files(None, Timeframe.M1) if one.kind == kind]
    return file


def place(file: ArchiveFile) -> Path:
    path = local_path(file.url)
    assert path is not None
    return path


def read(store: Store) -> pl.DataFrame:
    return store.reader.read(SYMBOLS, Timeframe.M1, MARCH, APRIL)


def test_no_flipped_bit_is_ever_read(store: Store) -> None:
    whole, path = read(store), place(the_file(store))
    content = path.read_bytes()
    bits = random.Random(5).sample(range(len(content) * 8), FLIPS - 6)
    # what a Parquet reader looks at first: the ends of the file
    for bit in [0, 9, *range(len(content) * 8 - 80, len(content) * 8, 20), *bits]:
        flip(path, bit)
        forget_proofs()  # as a new process
        with pytest.raises(DamagedFileError, match=r"bars/timeframe=1m/month=2025-03/.* is damaged: .*archive repair"):
            read(store)
        flip(path, bit)
    assert path.read_bytes() == content
    assert read(store).equals(whole)


def test_a_file_is_hashed_once_and_again_when_it_is_another(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    whole = proof.sha256
    monkeypatch.setattr(proof, "sha256", lambda path: hashed.append(path) or whole(path))
    for _ in range(3):
        read(store)
    path = place(the_file(store))
    assert hashed == [path]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError):
        read(store)


def test_one_damaged_file_stops_nothing_else(store: Store, tmp_path: Path) -> None:
    """Late bars of a month whose file is damaged wait; the hours beside it are archived, the rest can be read."""
    store.bars.write(series(count=24, start=MARCH, timeframe=Timeframe.H1), Timeframe.H1)
    store.bars.write(series(count=100, start=APRIL), Timeframe.M1)
    late = series(count=3, start=MARCH + timedelta(days=3))
    store.bars.write(late, Timeframe.M1)
    flip(place(the_file(store)), 5000)
    forget_proofs()
    with pytest.raises(StoreError, match=r"1m-2025-03: archive file .* is damaged"):
        retention(store, tmp_path).run(NOW)
    assert store.archive.files("bars", Timeframe.H1)
    assert store.reader.read(SYMBOLS, Timeframe.H1, MARCH, APRIL).height == 24 * 4
    assert store.reader.read(SYMBOLS, Timeframe.M1, APRIL, APRIL + timedelta(days=1)).height == 400
    assert miscounted(store) == []


def test_what_is_damaged_is_found_in_turn_and_brought_back_from_a_backup(store: Store, settings: Settings) -> None:
    whole, file = read(store), the_file(store)
    assert prove_archive(store).faults == []
    made = backup.make(settings, store.url, 0, silent)
    assert file.path in made.manifest.archive
    flip(place(file), 4711)
    found = prove_archive(store)
    assert found.looked_at == found.files == 2
    assert file.path in found.faults[0]
    (alert,) = store.checks.open_alerts().filter(source=ARCHIVE_CHECK).to_dicts()
    assert file.path in alert["summary"]
    # the next backup has a good copy already, and is as right as the one before
    assert backup.make(settings, store.url, 0, silent).manifest.faults == []

    damaged = archive_repair.find_damaged(store, store.archive.files(None), silent)
    assert [one.path for one in damaged] == [file.path]
    assert archive_repair.repair_from_backups(store, settings, damaged, silent) == []

    forget_proofs()
    assert read(store).equals(whole)
    assert prove_archive(store).faults == []
    assert store.checks.open_alerts().filter(source=ARCHIVE_CHECK).is_empty()


def test_a_missing_file_is_named_by_the_backup_and_costs_only_itself(store: Store, settings: Settings) -> None:
    place(the_file(store)).unlink()
    made = backup.make(settings, store.url, 0, silent)
    assert any("is missing" in fault for fault in made.manifest.faults or [])
    assert the_file(store, "revisions").path in made.manifest.archive
    assert len(prove_archive(store).faults) == 1


def test_what_no_backup_has_counts_as_missing_and_is_archived_anew(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    file = the_file(store)
    days = [MARCH.date(), MARCH.date() + timedelta(days=1)]
    expected = [(name, "1m", day, count) for name in SYMBOLS for day, count in zip(days, (1440, 560), strict=True)]
    store.coverage.set_expected(
        pl.DataFrame(expected, schema=["instrument", "timeframe", "day", "expected"], orient="row")
    )
    place(file).write_bytes(b"")
    shutil.rmtree(files.backup_dir(settings), ignore_errors=True)
    damaged = archive_repair.find_damaged(store, store.archive.files(None), silent)
    assert archive_repair.repair_from_backups(store, settings, damaged, silent) == damaged
    give_up(store.connections, file)
    cells = store.coverage.cells([Timeframe.M1], MARCH, APRIL)
    assert cells["present"].sum() == cells["archived"].sum() == 0
    assert not cells["final"].any()
    assert read(store).is_empty()
    store.bars.write(series(count=2000, start=MARCH), Timeframe.M1)
    retention(store, tmp_path).run(NOW)
    assert read(store).height == 8000
    assert miscounted(store) == []
    assert prove_tables(store, settings).faults == []
    assert prove_archive(store).faults == []
