"""Reading while bars are written and archived: every answer is some whole state, and none is older than it says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from crypto_pipeline import Reader
from crypto_pipeline.api.app import create_app
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import question
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive_spans import Span
from crypto_pipeline.store.archive_storage import ArchiveStorage
from crypto_pipeline.store.archiver import Archiver
from crypto_pipeline_tests.store.bar_factory import bar, frame

BEGIN = datetime(2025, 3, 31, 22, tzinfo=UTC)
END = BEGIN + timedelta(minutes=60)
MARCH = (2025 - 1970) * 12 + 2
SECONDS = 4.0
#: This machine's clock as seen twice, by the writer and through the monotonic clock.
TICK = 0.002


class Generations:
    """A writer whose n-th transaction gives all sixty bars the volume n."""

    def __init__(self, store: Store) -> None:
        self.store, self.committed = store, [(0.0, 0)]

    def write(self, number: int) -> None:
        rows = [
            bar(at=BEGIN + minute * timedelta(minutes=1), volume=float(number), price=100.0 + minute,
                revision=END + timedelta(seconds=number))
            for minute in range(60)
        ]  # fmt: skip
        self.store.bars.write(frame(rows), Timeframe.M1)
        self.committed.append((time.time(), number))

    def at(self, moment: float) -> int:
        """The newest generation that was surely committed by then."""
        return max(number for when, number in list(self.committed) if when <= moment)


def whole(bars: pl.DataFrame) -> int:
    """The generation of an answer, which must be one."""
    assert bars.height == 60, f"{bars.height} of 60 bars"
    assert bars["open_time"].is_unique().all()
    (volume,) = bars["volume"].unique().to_list()
    return int(volume)


def test_answers_are_whole_and_not_older_than_they_say(
    store: Store, reader: Reader, read_database: str, tmp_path: Path
) -> None:
    generations = Generations(store)
    generations.write(1)
    stop, errors, counts = threading.Event(), list[BaseException](), dict.fromkeys(("direct", "cached", "http"), 0)
    hits = archived = 0

    def until_stopped(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                errors.append(error)
                stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    numbers = iter(range(2, 10**6))

    def write() -> None:
        number = next(numbers)
        generations.write(number)
        # whoever archives gives way to writers: now and then let it through, with all readers on
        done, patience = archived, time.monotonic() + (1.5 if number % 8 == 0 else 0.01)
        while archived == done and time.monotonic() < patience and not stop.is_set():
            stop.wait(0.01)

    archiver = Archiver(store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "scratch")

    def archive() -> None:
        nonlocal archived
        try:
            archiver.archive(Span.month(Timeframe.M1, MARCH), 0)
            archived += 1
        except StoreError as error:  # the writer was quicker five times
            if "being changed all the time" not in str(error):
                raise
        stop.wait(0.05)

    def direct() -> None:
        least = generations.at(time.time())
        assert whole(reader.bars("BTC-USDT", "1m", BEGIN, END)) >= least
        counts["direct"] += 1

    def cached() -> None:
        nonlocal hits
        answer = reader.cached.bars("BTC-USDT", "1m", BEGIN, END)
        assert whole(answer.value) >= generations.at(answer.as_of.timestamp() - TICK)
        assert not answer.stale
        counts["cached"] += 1
        hits += answer.hit

    with TestClient(create_app(Reader(read_database))) as client:

        def http() -> None:
            answer = client.get("/bars/BTC-USDT?timeframe=1m&start=2025-03-31T22:00Z&end=2025-03-31T23:00Z")
            volumes = {row["volume"] for row in answer.json()["bars"]}
            assert len(answer.json()["bars"]) == 60
            assert len(volumes) == 1
            as_of = datetime.fromisoformat(answer.headers["x-as-of"]).timestamp()
            assert int(volumes.pop()) >= generations.at(as_of - TICK)
            counts["http"] += 1

        threads = [until_stopped(work) for work in (write, archive, direct, cached, http)]
        stop.wait(SECONDS)
        stop.set()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        # afterwards everything says the newest
        newest = generations.committed[-1][1]
        assert reader.cached.await_changes()
        assert whole(reader.cached.bars("BTC-USDT", "1m", BEGIN, END).value) == newest
    assert archived > 0
    assert newest > 5
    assert all(count > 5 for count in counts.values()), counts
    assert hits > 0


def test_a_cache_whose_database_went_away_says_so(
    store: Store, read_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Generations(store).write(1)
    with Reader(read_database, patience=0.3) as reader:
        first = reader.cached.bars("BTC-USDT", "1m", BEGIN, END)
        monkeypatch.setattr(reader.store.connections, "url", "postgresql://nobody@127.0.0.1:1/nothing")
        reader.cached.close_listening()
        _end_connections(store)
        later = reader.cached.bars("BTC-USDT", "1m", BEGIN, END)
        assert later.stale
        assert later.value.equals(first.value)
        assert later.as_of <= first.as_of + timedelta(seconds=TICK)
        with pytest.raises(StoreError, match="was away"):
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
