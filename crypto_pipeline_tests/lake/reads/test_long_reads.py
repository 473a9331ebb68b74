"""Reads through the mirror equal those of the plain table, whatever was written, mirrored, archived or damaged.

Guards I10 (docs/invariants.md).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.lake.reads import bars as reads
from crypto_pipeline.lake.reads import files, plain
from crypto_pipeline.lake.reads import mirrored as mirrored_reads
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.lake.reads.plan import FileBatch
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.mirror.datasets import MirrorSeries
from crypto_pipeline.store.mirror.looks import MirrorMoment
from crypto_pipeline.store.partitions.span import Span
from crypto_pipeline_tests.builders.bars import SYMBOLS, bar, database_clock, frame, series
from crypto_pipeline_tests.builders.mirror_files import mirror_bars

FIRST, LAST = datetime(2025, 3, 28, tzinfo=UTC), datetime(2025, 4, 8, tzinfo=UTC)
DAY = timedelta(days=1)
#: Of the random store; more of both show more.
SEED, STEPS = 20250401, 16
M1 = Timeframe.M1


@pytest.fixture(autouse=True)
def batches(monkeypatch: pytest.MonkeyPatch) -> list[FileBatch]:
    """Small reads use files too; each file is proven again. The batches of files that are read."""
    monkeypatch.setattr(reads, "TABLE_BARS", 0)
    files.forget_proofs()
    plain.forget_kept()
    done: list[FileBatch] = []

    def noted(batch: FileBatch, *rest: Any) -> Any:
        done.append(batch)
        return files.read_batch(batch, *rest)

    def noted_plain(batches: list[FileBatch], *rest: Any) -> Any:
        found, left = plain.read_plain(batches, *rest)
        packed = {id(batch) for batch in left}
        done.extend(batch for batch in batches if id(batch) not in packed)
        return found, left

    monkeypatch.setattr(mirrored_reads, "read_batch", noted)
    monkeypatch.setattr(mirrored_reads, "read_plain", noted_plain)
    return done


class Mirrored:
    """A store with a mirror in ``folder``."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.place = ArchiveStorage(str(folder / "mirror")).url
        self.paths: list[Path] = []

    def make(self, now: datetime = LAST, timeframe: Timeframe = M1, share: float = 1.0, seed: int = 0) -> None:
        """Make a share of the files that are due at ``now``."""
        chosen = random.Random(seed)
        of = MirrorSeries.of_bars(timeframe)
        moment = MirrorMoment(now, self.place)
        self.paths += mirror_bars(self.store, self.folder, of, moment, lambda _: chosen.random() < share)

    def suspected(self) -> list[str]:
        found = self.store.connections.run(catalogue.find)
        return [file.path for file in found if file.suspected_at is not None]

    def same(
        self,
        names: tuple[str, ...] = SYMBOLS,
        start: datetime = FIRST - DAY,
        end: datetime = LAST + DAY,
        timeframe: Timeframe = M1,
        *,
        as_of: datetime | None = None,
        complete: bool = False,
        columns: list[str] | None = None,
    ) -> pl.DataFrame:
        """The answer, which must be the table's."""
        found = long_reads(self.store).read(
            names, timeframe, start, end, as_of=as_of, complete=complete, columns=columns
        )
        plain = self.store.reader.read(names, timeframe, start, end, as_of=as_of, complete=complete, columns=columns)
        assert_frame_equal(found, plain)
        return found


@pytest.fixture
def mirrored(store: Store, tmp_path: Path) -> Mirrored:
    return Mirrored(store, tmp_path)


def without_table(store: Store) -> None:
    """Take the bars out of the table alone: what is read now comes from files."""
    store.connections.run(lambda connection: connection.execute("TRUNCATE market.ohlc_data") and None)


def test_closed_days_come_from_files_and_a_changed_bar_makes_its_day_the_tables(mirrored: Mirrored) -> None:
    store = mirrored.store
    store.bars.write(series(count=11 * 1440, start=FIRST), M1)
    mirrored.make()
    whole = mirrored.same()

    between = FIRST + 3 * DAY + timedelta(seconds=1)
    assert mirrored.same(start=between, end=between + timedelta(seconds=2)).is_empty()

    healed = bar("ETH-USDT", FIRST + 5 * DAY, price=7.0, revision=datetime(2026, 1, 1, tzinfo=UTC))
    store.bars.write(frame([healed]), M1)
    changed = mirrored.same()
    assert changed.height == whole.height
    assert not changed.equals(whole)

    without_table(store)
    rest = long_reads(store).read(SYMBOLS, M1, FIRST, LAST, columns=list(READ_SCHEMA))
    april_2 = pl.col("open_time").is_between(FIRST + 5 * DAY, FIRST + 6 * DAY, closed="left")
    expected = whole.filter(~(april_2 & (pl.col("instrument") == "ETH-USDT")), pl.col("open_time") < LAST - DAY)
    assert_frame_equal(rest.filter(pl.col("open_time") < LAST - DAY), expected)


@pytest.mark.parametrize("always", [False, True])
def test_an_answer_is_of_one_moment_however_bars_change_during_the_read(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    """A mirrored bar and one of the running day change together, once or at every attempt, while files are read."""
    store = mirrored.store
    store.bars.write(series(("BTC-USDT",), count=12 * 1440, start=FIRST), M1)
    mirrored.make()
    changes: list[datetime] = []
    read = mirrored_reads.read_batch

    def changing(*given: Any) -> Any:
        found = read(*given)
        if always or not changes:
            changes.append(FIRST + timedelta(days=400 + len(changes)))
            both = [bar(at=at, price=10.0 + len(changes), revision=changes[-1]) for at in (FIRST + DAY, LAST + DAY / 2)]
            store.bars.write(frame(both), M1)
        return found

    monkeypatch.setattr(mirrored_reads, "read_batch", changing)
    found = long_reads(store).read(["BTC-USDT"], M1, FIRST, LAST + 2 * DAY, columns=["open_time", "open"])
    at = found.filter(pl.col("open_time").is_in([FIRST + DAY, LAST + DAY / 2]))
    assert at["open"].to_list() == [10.0 + len(changes)] * 2
    assert (len(changes) > 1) == always
    assert found.height == 12 * 1440


def test_the_newest_bars_are_the_tables(mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    store = mirrored.store
    store.bars.write(series(count=11 * 1440 + 77, start=FIRST), M1)
    mirrored.make()
    read, tables = long_reads(store), store.reader
    middle = FIRST + 5 * DAY + timedelta(minutes=7, microseconds=1)
    for last in (1, 1440, 5000, 11 * 1440):
        for before in (None, middle):
            for names, columns in ((SYMBOLS, ["close", "open_time"]), (SYMBOLS[1:2], None)):
                found = read.newest(names, M1, last, before=before, columns=columns, complete=True)
                assert_frame_equal(found, tables.newest(names, M1, last, before=before, columns=columns, complete=True))

    called = list[Any]()
    monkeypatch.setattr(read.router, "_below", SimpleNamespace(read=lambda *asked: called.append(asked)))
    read.newest(SYMBOLS, M1, 3 * 1440, before=FIRST + 9 * DAY)
    assert called == [], "such a read comes from files alone"


def test_a_past_moment_before_the_newest_change_is_read_from_the_tables(mirrored: Mirrored) -> None:
    store = mirrored.store
    store.bars.write(series(("BTC-USDT",), count=3 * 1440, start=FIRST), M1)
    before = database_clock(store)
    later = [bar(at=FIRST + timedelta(hours=hour), price=9.0, revision=LAST) for hour in range(0, 60, 7)]
    store.bars.write(frame(later), M1)
    mirrored.make()
    past, now = mirrored.same(as_of=before), mirrored.same(as_of=database_clock(store))
    assert not past.equals(now)


@pytest.mark.parametrize("how", ["flipped", "missing", "cut"])
def test_a_damaged_file_is_left_to_the_table_and_noted(mirrored: Mirrored, how: str) -> None:
    mirrored.store.bars.write(series(count=11 * 1440, start=FIRST), M1)
    mirrored.make()
    good = mirrored.same()
    path = mirrored.paths[0]
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    else:
        data[len(data) // 3] ^= 1
        path.write_bytes(data if how == "flipped" else data[: len(data) // 2])
    assert mirrored.same().equals(good)
    assert mirrored.suspected() == [path.name]


def test_a_folder_that_is_not_reachable_from_here_is_no_damage(mirrored: Mirrored) -> None:
    mirrored.store.bars.write(series(count=11 * 1440, start=FIRST), M1)
    mirrored.make()
    (mirrored.folder / "mirror").rename(mirrored.folder / "elsewhere")
    mirrored.same()
    assert mirrored.suspected() == []


def test_random_stores_are_read_as_the_plain_table(
    mirrored: Mirrored, tmp_path: Path, batches: list[FileBatch]
) -> None:
    """Random writes, revisions, holes, half-made mirrors, archived and dropped months, and questions of every kind."""
    store, chosen = mirrored.store, random.Random(SEED)
    retention = Retention(store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "scratch", _policy())
    moments = [database_clock(store)]
    for step in range(STEPS):
        timeframe = chosen.choice([M1, M1, M1, M1, Timeframe.H1, Timeframe.W1])
        _change(store, chosen, timeframe, step)
        moments.append(database_clock(store))
        if step % 3:
            mirrored.make(chosen.choice([LAST, LAST, LAST + 60 * DAY]), timeframe, 0.8, step)
        if step == 7:
            with retention.exclusive():
                retention.archiver.archive(Span.month(M1, (2025 - 1970) * 12 + 2), 0)
        if step == 13:
            retention.drop(Span.month(M1, (2025 - 1970) * 12 + 3))
        for each in (timeframe, timeframe, M1, M1):
            _ask(mirrored, chosen, each, moments)
    assert len(batches) > 20, "files are used"


def _policy() -> RetentionPolicy:
    return RetentionPolicy(dict.fromkeys(Timeframe, Kept(None, None)), Kept(7, 7), 700)


def _change(store: Store, chosen: random.Random, timeframe: Timeframe, step: int) -> None:
    """Write a part of the span again, or for the first time, with holes."""
    names = tuple(chosen.sample(SYMBOLS, chosen.randint(1, 4)))
    start = timeframe.floor(FIRST + chosen.randint(0, 8) * DAY)
    count = max(1, min(chosen.randint(1, 4) * DAY, LAST + DAY - start) // timeframe.delta)
    bars = series(names, count, start, timeframe, seed=step, revised=timedelta(hours=step))
    store.bars.write(bars.sample(fraction=chosen.choice([1.0, 0.9, 0.02]), seed=step).sort("instrument", "open_time"),
                     timeframe)  # fmt: skip


def _ask(mirrored: Mirrored, chosen: random.Random, timeframe: Timeframe, moments: list[datetime]) -> None:
    names = tuple(chosen.sample(SYMBOLS, chosen.randint(1, 4)))
    start = FIRST + timedelta(minutes=chosen.randint(-2000, 12_000))
    end = start + timedelta(minutes=chosen.choice([1, 700, 5_000, 20_000]), microseconds=chosen.choice([0, 1]))
    every = list(READ_SCHEMA)
    columns = chosen.choice([None, chosen.sample(every, chosen.randint(1, 6)), ["close"]])
    mirrored.same(
        names, start, end, timeframe,
        as_of=chosen.choice([None, chosen.choice(moments)]), complete=chosen.random() < 0.3, columns=columns,
    )  # fmt: skip
    last, before = chosen.choice([1, 60, 3_000]), chosen.choice([None, end])
    for asked in (names, names[:1]):
        found = long_reads(mirrored.store).newest(asked, timeframe, last, before=before, columns=columns)
        assert_frame_equal(found, mirrored.store.reader.newest(asked, timeframe, last, before=before, columns=columns))
