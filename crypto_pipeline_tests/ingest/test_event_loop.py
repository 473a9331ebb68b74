"""The event loop of ingest never waits for the database, and no error of the database ends a term.

A lease that expires while PostgreSQL is slow or fails is taken again in a thread, as long as no other process has it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.ingest.conftest import Desk

#: The database is slow, or the lease row locked, for so long; the loop may pause for at most so long. Seconds.
SLOW, LONGEST_PAUSE = 2.5, 0.8
_SLEEP = """
CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$
"""
_TRIGGER = "CREATE TRIGGER slow BEFORE UPDATE ON ops.leases FOR EACH ROW EXECUTE FUNCTION slow()"
_EXPIRED = "SELECT expires_at < clock_timestamp() FROM ops.leases WHERE name = 'ingest-0'"


class Pulse:
    """Measures the longest time in which the event loop ran nothing."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = 0.0

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        self._last = time.monotonic()
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            self._take()
            task.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self._take()

    def _take(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now


@contextmanager
def locked_lease(desk: Desk) -> Iterator[threading.Event]:
    """Lock the row of the lease until SLOW seconds after the lease has expired; the event says that it is free again.

    A thread does it, because the event loop may stand still. Reading the row, and proving the lease, stays possible.
    """
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with connect(desk.store.url) as connection, connection.transaction():
                connection.execute("SELECT FROM ops.leases WHERE name = 'ingest-0' FOR NO KEY UPDATE")
                held.set()
                while connection.execute(_EXPIRED).fetchone() != (True,):
                    time.sleep(0.05)
                time.sleep(SLOW)
        finally:
            free.set()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        yield free
    finally:
        thread.join()


def token(desk: Desk) -> int:
    return next(row.token for row in desk.store.leases.rows())


async def test_the_loop_runs_on_while_a_slow_database_gives_the_lease_back(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(2, speed=10.0, settings={"ingest_lease_seconds": 20.0})
    pulse = Pulse()

    def execute(statement: str) -> None:
        desk.store.connections.run(lambda link: link.execute(statement) and None)

    execute(_SLEEP.format(seconds=0))
    execute(_TRIGGER)
    async with desk.ingesting() as term:
        await desk.until(lambda: desk.state() == "live")
        execute("UPDATE ops.leases SET expires_at = clock_timestamp()")
        execute(_SLEEP.format(seconds=SLOW))
        async with pulse.measured():
            await desk.until(lambda: token(desk) == 2)
            await asyncio.sleep(2 * SLOW)  # by then every part that found the lease lost has asked for it
        execute(_SLEEP.format(seconds=0))
        assert pulse.longest < LONGEST_PAUSE
        assert not term.done()
        await desk.until(lambda: desk.state() == "live")


@pytest.mark.parametrize("statement_timeout", [None, 0.5], ids=["slow", "failing"])
async def test_a_lease_that_expires_while_its_row_is_locked_is_taken_again(
    make_desk: Callable[..., Desk], statement_timeout: float | None
) -> None:
    """With a statement timeout every attempt to renew or retake the lease fails with a StoreError meanwhile."""
    desk = make_desk(2, speed=20.0, settings={"ingest_lease_seconds": 2.0})
    clock, pulse = desk.exchange.clock, Pulse()
    with Store(desk.store.url, statement_timeout=statement_timeout) as store:
        async with desk.ingesting(store=store) as term:
            await desk.until(lambda: desk.state() == "live")
            start = Timeframe.M1.ceil(clock.now())
            with locked_lease(desk) as free:
                async with pulse.measured():
                    await asyncio.to_thread(free.wait, 60)
            assert pulse.longest < LONGEST_PAUSE
            end = Timeframe.M1.floor(clock.now()) + Timeframe.M1.delta
            await desk.until(lambda: clock.now() > end)
            await desk.reach(start, end)
            assert not term.done()


async def test_the_loop_does_not_wait_for_the_report_of_a_minute(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(2, speed=60.0)
    pulse, reported = Pulse(), threading.Event()

    def report(figures: Mapping[str, Any]) -> None:
        time.sleep(SLOW)
        reported.set()
        raise RuntimeError("the event log cannot be written")

    async with desk.ingesting(report=report) as term:
        await desk.until(lambda: desk.state() == "live")
        reported.clear()
        async with pulse.measured():
            assert await asyncio.to_thread(reported.wait, 60)
        assert not term.done()
    assert pulse.longest < LONGEST_PAUSE
