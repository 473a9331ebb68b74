"""Reading beside writers, retention, archive, compaction and views: answers are whole, and no older than they say.

Guards I8 and I10 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from crypto_pipeline import Reader
from crypto_pipeline.api.app import create_app
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import question
from crypto_pipeline.store import DatabaseUrl, Store, StoreError
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.partitions import compaction
from crypto_pipeline.store.partitions.span import Span
from crypto_pipeline.store.views.views import VIEWS
from crypto_pipeline_tests.builders.bars import bar, database_clock, frame
from crypto_pipeline_tests.store.archive.test_archive import NOW, policy

BEGIN = datetime(2025, 3, 31, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
END = BEGIN + HOUR
#: March is archived by the policy at NOW, December is past all its time, April stays.
OLD, APRIL = datetime(2024, 12, 31, 22, tzinfo=UTC), datetime(2025, 4, 10, tzinfo=UTC)
MARCH = (2025 - 1970) * 12 + 2
SECONDS = float(os.environ.get("CRYPTO_PIPELINE_TEST_SECONDS", "5"))
#: This machine's clock as seen twice, by the writer and through the monotonic clock.
TICK = 0.002


class Generations:
    """A writer whose n-th transaction gives sixty minutes of a symbol the volume n."""

    def __init__(self, store: Store, symbol: str = "BTC-USDT", begin: datetime = BEGIN) -> None:
        self.store, self.symbol, self.begin = store, symbol, begin
        self.committed = [(0.0, 0)]
        #: Moments of the database's clock, and which generation was the truth then.
        self.moments: list[tuple[datetime, int]] = []

    def write(self, number: int) -> None:
        rows = [
            bar(self.symbol, self.begin + minute * timedelta(minutes=1), volume=float(number), price=100.0 + minute,
                revision=self.begin + timedelta(hours=1, seconds=number))
            for minute in range(60)
        ]  # fmt: skip
        self.store.bars.write(frame(rows), Timeframe.M1)
        self.committed.append((time.time(), number))
        if number % 3 == 1:
            self.moments.append((database_clock(self.store), number))

    def at(self, moment: float) -> int:
        """The newest generation that was surely committed by then."""
        return max(number for when, number in list(self.committed) if when <= moment)


def whole(bars: pl.DataFrame) -> int:
    """The generation of an answer, which must be one."""
    assert bars.height == 60, f"{bars.height} of 60 bars"
    assert bars["open_time"].is_unique().all()
    (volume,) = bars["volume"].unique().to_list()
    return int(volume)


class Beside:
    """Works that go on beside each other, in a thread each, until the time is over or one of them fails."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.rounds: Counter[str] = Counter()
        self._threads: list[threading.Thread] = []

    def add(self, work: Callable[[], bool | None], name: str) -> None:
        """``work`` again and again; rounds for which it says False do not count."""

        def run() -> None:
            try:
                while not self.stop.is_set():
                    self.rounds[name] += work() is not False
            except BaseException as error:
                self.errors.append(error)
                self.stop.set()

        self._threads.append(threading.Thread(target=run, name=name))

    def run(self, seconds: float) -> None:
        for thread in self._threads:
            thread.start()
        self.stop.wait(seconds)
        self.stop.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


def unless_changed(work: Callable[[], object]) -> bool:
    """Do what gives way to writers; False when they were quicker."""
    try:
        work()
    except StoreError as error:
        if "changed" not in str(error):
            raise
        return False
    return True


def test_answers_are_whole_and_not_older_than_they_say(
    store: Store, reader: Reader, read_database: str, tmp_path: Path
) -> None:
    """While bars are written in three months, of which retention archives one, drops one and compaction orders one."""
    march, old = Generations(store), Generations(store, "ETH-USDT", OLD)
    april = Generations(store, "DOGE-USDT", APRIL)
    both: dict[str, Any] = {"instruments": ["ETH-USDT"], "timeframe": "1m", "start": OLD, "end": OLD + HOUR}
    for each in (march, april):
        each.write(1)
    beside, numbers = Beside(), itertools.count(2)
    retention = Retention(
        store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "scratch", policy(hot=30, kept=90)
    )

    def write() -> None:
        number = next(numbers)
        for each in (march, april, old):
            each.write(number)
        # whoever archives gives way to writers: now and then let it through, with all readers on
        done, patience = beside.rounds["retention"], time.monotonic() + (3.0 if number % 4 == 0 else 0.01)
        while beside.rounds["retention"] == done and time.monotonic() < patience and not beside.stop.is_set():
            beside.stop.wait(0.02)

    def keep_house() -> bool:
        done = unless_changed(lambda: retention.run(NOW))
        beside.rounds["compaction"] += unless_changed(
            lambda: compaction.compact(store.connections, Span.month(Timeframe.M1, MARCH + 1))
        )
        beside.stop.wait(0.02)
        return done

    def refresh() -> None:
        for view in VIEWS:
            store.views.refresh(view)

    def direct() -> None:
        for each in (march, april):
            least = each.at(time.time())
            assert whole(reader.bars(each.symbol, "1m", each.begin, each.begin + HOUR)) >= least

    def newest() -> None:
        least = april.at(time.time())
        assert whole(reader.bars("DOGE-USDT", "1m", last=60)) >= least

    def dropped() -> None:
        found = reader.bars(**both)
        assert found.is_empty() or whole(found) > 1, "half of what was dropped"

    def past() -> None:
        for each in (march, april):
            for moment, number in each.moments[-20:]:
                asked = reader.bars(each.symbol, "1m", each.begin, each.begin + HOUR, as_of=moment)
                assert whole(asked) == number

    hits = 0

    def cached() -> None:
        nonlocal hits
        answer = reader.cached.bars("BTC-USDT", "1m", BEGIN, END)
        assert whole(answer.value) >= march.at(answer.as_of.timestamp() - TICK)
        assert not answer.stale
        hits += answer.hit

    with TestClient(create_app(Reader(read_database))) as client:

        def http() -> None:
            answer = client.get("/bars/BTC-USDT?timeframe=1m&start=2025-03-31T22:00Z&end=2025-03-31T23:00Z")
            volumes = {row["volume"] for row in answer.json()["bars"]}
            assert len(answer.json()["bars"]) == 60
            assert len(volumes) == 1
            as_of = datetime.fromisoformat(answer.headers["x-as-of"]).timestamp()
            assert int(volumes.pop()) >= march.at(as_of - TICK)
            gone = client.get("/bars/ETH-USDT?timeframe=1m&start=2024-12-31T20:00Z&end=2024-12-31T23:30Z").json()[
                "bars"
            ]
            assert len(gone) in (0, 60)
            assert len({row["volume"] for row in gone}) <= 1

        beside.add(keep_house, "retention")
        for work in (write, refresh, direct, newest, dropped, past, cached, http):
            beside.add(work, work.__name__)
        beside.run(SECONDS)
        # afterwards everything says the newest
        last = march.committed[-1][1]
        assert reader.cached.await_changes()
        assert whole(reader.cached.bars("BTC-USDT", "1m", BEGIN, END).value) == last
        past()
    assert last > 5
    assert all(beside.rounds[name] > 0 for name in ("retention", "compaction", "refresh")), beside.rounds
    assert all(beside.rounds[name] > 5 for name in ("direct", "newest", "dropped", "past", "cached", "http")), (
        beside.rounds
    )
    assert hits > 0


def test_a_cache_whose_database_went_away_says_so(
    store: Store, read_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(read_database, DatabaseUrl):
        pytest.skip("the connection to the pooler outlives the sessions that the test ends")
    Generations(store).write(1)
    with Reader(read_database, patience=0.3) as reader:
        first = reader.cached.bars("BTC-USDT", "1m", BEGIN, END)
        monkeypatch.setattr(reader.store.connections._sessions, "url", "postgresql://nobody@127.0.0.1:1/nothing")
        reader.cached.close_listening()
        _end_connections(store)
        later = reader.cached.bars("BTC-USDT", "1m", BEGIN, END)
        assert later.stale
        assert later.value.equals(first.value)
        assert later.as_of <= first.as_of + timedelta(seconds=TICK)
        with pytest.raises(StoreError, match="did not answer"):
            reader.cached.bars("BTC-USDT", "1m", BEGIN, END - timedelta(minutes=1))


def _end_connections(store: Store) -> None:
    """Have the server end everybody else's connections to this database."""
    store.connections.run(
        lambda connection: connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    )


def test_equal_questions_at_once_are_asked_once(store: Store, reader: Reader) -> None:
    Generations(store).write(1)
    reader.cached.await_changes()
    barrier = threading.Barrier(16)

    def ask() -> None:
        barrier.wait()
        assert whole(reader.cached.bars("BTC-USDT", "1m", BEGIN, END).value) == 1

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = reader.cached.stats
    assert stats.misses == 1
    assert stats.hits + stats.joined + stats.validated == 15


async def test_equal_questions_of_many_tasks_are_asked_once(store: Store, reader: Reader) -> None:
    Generations(store).write(1)
    reader.cached.await_changes()
    asked = question("BTC-USDT", "1m", BEGIN, END)
    answers = await asyncio.gather(*(reader.cached.answer_async(asked) for _ in range(16)))
    assert [whole(answer.value) for answer in answers] == [1] * 16
    assert reader.cached.stats.misses == 1
    assert (await reader.cached.answer_async(asked)).hit


def test_memory_is_bounded(store: Store, read_database: str) -> None:
    Generations(store).write(1)
    with Reader(read_database, cache_bytes=50_000) as reader:
        for minute in range(1, 60):
            reader.cached.bars("BTC-USDT", "1m", BEGIN, BEGIN + timedelta(minutes=minute))
        stats = reader.cached.stats
        assert stats.evicted > 0
        assert 0 < stats.bytes <= 50_000
