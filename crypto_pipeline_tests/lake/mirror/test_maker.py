"""The mirror against a real PostgreSQL: its files hold what the tables hold, whatever happens between.

Guards I7 and I10 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.lake.mirror import ownership, proof
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.object_store import ArchiveStorage, scan_source
from crypto_pipeline.store.archive.rows import BAR_FILE
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline_tests.builders.bars import SYMBOLS, bar, frame, series

FIRST = datetime(2025, 3, 30, tzinfo=UTC)
#: A day after the last bar; March is not settled, then it is.
NEXT_DAY, IN_APRIL = datetime(2025, 4, 1, 0, 30, tzinfo=UTC), datetime(2025, 4, 2, 1, tzinfo=UTC)


@pytest.fixture
def maker(store: Store, tmp_path: Path) -> MirrorMaker:
    return MirrorMaker(store, ArchiveStorage(str(tmp_path / "mirror")), tmp_path / "scratch")


def mirrored(store: Store, timeframe: Timeframe = Timeframe.M1) -> pl.DataFrame:
    """The rows of all files in use, by instrument and time."""
    files = [file for file in store.connections.run(catalogue.find) if file.series == str(timeframe)]
    if not files:
        return pl.DataFrame(schema=BAR_FILE)
    return pl.concat(pl.read_parquet(scan_source(file.url)) for file in files).sort("instrument", "open_time")


def stored(store: Store, until: datetime, timeframe: Timeframe = Timeframe.M1) -> pl.DataFrame:
    return store.reader.read(SYMBOLS, timeframe, FIRST, until, columns=list(BAR_FILE))


def files_of(maker: MirrorMaker) -> set[str]:
    return {path for path in maker._storage.paths() if path != ownership.MARK}


def test_files_hold_what_the_table_holds(store: Store, maker: MirrorMaker) -> None:
    store.bars.write(series(count=2 * 1440, start=FIRST), Timeframe.M1)
    store.bars.write(series(count=48, start=FIRST, timeframe=Timeframe.H1), Timeframe.H1)

    report = maker.run(NEXT_DAY)
    assert (report.as_dict()["files"], report.as_dict()["cells"], report.left) == (2, 8, 0)
    assert_frame_equal(mirrored(store), stored(store, FIRST + timedelta(days=1)))
    assert_frame_equal(mirrored(store, Timeframe.H1), stored(store, FIRST + timedelta(days=1), Timeframe.H1))
    assert maker.run(NEXT_DAY).made == [], "nothing is made twice"

    report = maker.run(IN_APRIL)
    assert report.as_dict()["files"] == len(SYMBOLS) + 1
    assert_frame_equal(mirrored(store), stored(store, FIRST + timedelta(days=2)))

    before = files_of(maker)
    healed = bar("ETH-USDT", FIRST + timedelta(minutes=7), price=7.0, revision=datetime(2026, 1, 1, tzinfo=UTC))
    store.bars.write(frame([healed]), Timeframe.M1)
    report = maker.run(IN_APRIL)
    assert [one.cells for one in report.made] == [2], "one file of one instrument"
    assert_frame_equal(mirrored(store), stored(store, FIRST + timedelta(days=2)))
    assert before < files_of(maker), "readers of before may still read the old file"
    (new,) = report.made
    entry = next(file for file in store.connections.run(catalogue.find) if file.file_id == new.file_id)
    newest = stored(store, FIRST + timedelta(days=2)).filter(pl.col("instrument") == "ETH-USDT")["recorded_at"].max()
    assert entry.newest_recorded_at == newest


def test_a_damaged_and_a_missing_file_are_taken_out_of_use_and_made_again(store: Store, maker: MirrorMaker) -> None:
    store.bars.write(series(count=2 * 1440, start=FIRST), Timeframe.M1)
    maker.run(IN_APRIL)
    assert maker._storage.folder is not None
    paths = [maker._storage.folder / file.path for file in store.connections.run(catalogue.find)]
    data = bytearray(paths[0].read_bytes())
    data[len(data) // 2] ^= 1
    paths[0].write_bytes(data)
    paths[1].unlink()

    found = proof.prove_in_turn(store, 10**9, 0)
    assert (found.looked_at, found.files, found.proven) == (4, 2, 2)
    assert [paths[0].name in found.faults[0], paths[1].name in found.faults[1]] == [True, True]
    assert "damaged" in found.faults[0]
    assert "missing" in found.faults[1]

    assert maker.run(IN_APRIL).as_dict()["files"] == 2
    assert_frame_equal(mirrored(store), stored(store, FIRST + timedelta(days=2)))
    assert proof.prove_in_turn(store, 1, 0).looked_at == 1, "files are proven in turn"


def test_a_killed_run_leaves_nothing(
    store: Store, maker: MirrorMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.bars.write(series(count=1440, start=FIRST), Timeframe.M1)
    for step in ("put", "fetched"):
        with monkeypatch.context() as patch:

            def killed(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(maker._storage, step, killed)
            if step == "fetched":
                patch.setattr(ownership, "claim", lambda *_, **__: None)
            with pytest.raises(KeyboardInterrupt):
                maker.run(NEXT_DAY)
        assert mirrored(store).is_empty()
    leftover = tmp_path / "mirror" / "bars" / "1m" / "of a later state.parquet"
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.touch()
    assert maker.run(NEXT_DAY).as_dict()["files"] == 1
    assert len(files_of(maker)) == 1, "files that no catalogue knows are gone"
    assert_frame_equal(mirrored(store), stored(store, FIRST + timedelta(days=1)))


def test_a_folder_belongs_to_one_database(store: Store, maker: MirrorMaker) -> None:
    store.bars.write(series(count=1440, start=FIRST), Timeframe.M1)
    maker.run(NEXT_DAY)
    store.connections.run(catalogue.disown)
    with pytest.raises(StoreError, match="belongs to another database"):
        maker.run(NEXT_DAY)
    before = files_of(maker)
    assert maker.run(NEXT_DAY, take_over=True).as_dict()["files"] == 1
    assert not files_of(maker) & before
    assert maker.drop() == 1
    assert files_of(maker) == set()
    assert [one.span.of.series for one in maker.due(NEXT_DAY)] == ["1m"]


def test_a_file_of_which_a_day_left_its_table_is_made_again_without_it(store: Store, maker: MirrorMaker) -> None:
    store.bars.write(series(count=48, start=FIRST, timeframe=Timeframe.H1), Timeframe.H1)
    maker.run(IN_APRIL)

    def leave(connection: psycopg.Connection[Any]) -> None:
        where = "timeframe = '1h' AND"
        connection.execute(f"DELETE FROM market.ohlc_data WHERE {where} open_time < %s", [FIRST + timedelta(days=1)])
        connection.execute(f"DELETE FROM market.coverage WHERE {where} day = %s", [FIRST.date()])

    store.connections.run(leave)
    report = maker.run(IN_APRIL, whole=True)
    assert (report.gone, report.as_dict()["files"]) == (len(SYMBOLS), 1)
    assert_frame_equal(mirrored(store, Timeframe.H1), stored(store, FIRST + timedelta(days=2), Timeframe.H1))
    assert maker.run(IN_APRIL).made == []
