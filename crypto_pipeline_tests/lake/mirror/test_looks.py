"""A run that looks at what changed leaves nothing due that a look at everything would find.

Guards I7 and I10 (docs/invariants.md).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import restore
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.mirror import catalogue, cells, looks
from crypto_pipeline.store.mirror.datasets import MirrorSeries
from crypto_pipeline.store.mirror.looks import MirrorMoment
from crypto_pipeline.store.partitions.span import Span
from crypto_pipeline_tests.builders.bars import SYMBOLS, bar, frame, series

FIRST = datetime(2025, 2, 20, tzinfo=UTC)
DAY = timedelta(days=1)
M15 = Timeframe.M15
FEBRUARY = Span.month(M15, (2025 - 1970) * 12 + 1)


def maker_of(store: Store, folder: Path) -> MirrorMaker:
    return MirrorMaker(store, ArchiveStorage(str(folder / "mirror")), folder / "scratch")


def test_whatever_changes_a_short_look_leaves_nothing_due(store: Store, tmp_path: Path) -> None:
    """Days pass, bars are healed anywhere, a file is condemned, a month is archived and restored."""
    maker, chosen = maker_of(store, tmp_path), random.Random(17)
    policy = RetentionPolicy(dict.fromkeys(Timeframe, Kept(None, None)), Kept(7, 7), 0)
    retention = Retention(store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "retention", policy)
    now = FIRST
    for step in range(13):
        start, days = now, chosen.choice([1, 1, 2, 5])
        now += days * DAY
        store.bars.write(series(SYMBOLS[:2], 96 * days, start, M15, seed=step), M15)
        for _ in range(chosen.choice([0, 1, 3])):
            at = FIRST + timedelta(minutes=15 * chosen.randrange((now - FIRST) // M15.delta))
            healed = bar(chosen.choice(SYMBOLS[:2]), at, price=9.0, revision=now, timeframe=M15)
            store.bars.write(frame([healed]), M15)
        if step == 3:
            current = store.connections.run(catalogue.find)
            store.connections.run(catalogue.condemn, chosen.choice(current).file_id, "damaged")
        if step == 7:
            with retention.exclusive():
                retention.archiver.archive(FEBRUARY, 0)
        if step == 10:
            restore.restore(store.connections, store.archive.files(None), timedelta(days=400))
        if step % 3 == 0:
            maker.run(now + timedelta(hours=chosen.choice([0, 1, 30])))
        late = now + 2 * DAY
        maker.run(late)
        assert maker.due(late) == [], step
        now = late
    short = store.connections.run(looks.begin, MirrorSeries.of_bars(M15), MirrorMoment(now, maker._storage.url))
    assert short.since is not None, "not all cells were looked at each time"
    assert short.above > 0


def test_a_version_that_commits_late_is_seen(store: Store, tmp_path: Path) -> None:
    """Versions are drawn in one order and commit in another."""
    maker, now = maker_of(store, tmp_path), FIRST + 4 * DAY
    store.bars.write(series(SYMBOLS[:2], 96, FIRST, M15), M15)
    maker.run(now)
    change = "UPDATE market.coverage SET data_version = nextval('market.data_version') WHERE instrument_id = %s"
    first, second = store.symbols.ids(SYMBOLS[:2]).values()

    def second_changes(connection: psycopg.Connection[Any]) -> None:
        connection.execute(change, [second])

    with psycopg.connect(store.url) as late:
        late.execute(change, [first])
        for _ in range(2):
            store.connections.run(second_changes)
            assert len(maker.run(now).made) == 1
    assert len(maker.run(now).made) == 1, "the change that committed after later ones"
    assert maker.due(now) == []


def test_a_short_look_reads_the_cells_that_changed(store: Store, tmp_path: Path) -> None:
    store.bars.write(series(SYMBOLS, 60 * 96, FIRST, M15), M15)
    maker, now = maker_of(store, tmp_path), FIRST + 62 * DAY
    maker.run(now)
    of, moment = MirrorSeries.of_bars(M15), MirrorMoment(now, maker._storage.url)
    healed = bar("ETH-USDT", FIRST + 5 * DAY, revision=now, timeframe=M15)
    store.bars.write(frame([healed]), M15)
    look = store.connections.run(looks.begin, of, moment)
    (due,) = store.connections.run(cells.due, of, moment, look)
    assert (due.cells, due.span.first_day.month) == (1, 2)
    assert store.connections.run(cells.due, of, moment) == [due]
