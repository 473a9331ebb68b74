"""Never two at a time: supervisors that start at once, holders that are paused and wake, and what the database saw.

Guards I7 and I8 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from typing import Any

from crypto_pipeline.ingest import Duty, run_ingest
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.ingest.conftest import Desk
from crypto_pipeline_tests.ingest.test_processes import Programs, held_by, holder, programs

__all__ = ["programs"]  # the fixture

# Every write that is committed leaves a row, in the same transaction, that says under which token it was done.
_WITNESS = """
CREATE TABLE writes (
    place bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), what text, session text);
CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO writes (what, session) VALUES (TG_TABLE_NAME, current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT OR UPDATE OR DELETE ON market.trades FOR EACH STATEMENT EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON market.live_prices FOR EACH STATEMENT EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON market.coverage FOR EACH STATEMENT EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON ops.heartbeats FOR EACH STATEMENT EXECUTE FUNCTION witness();
"""
_TABLES = {"trades", "live_prices", "coverage", "heartbeats"}


def seen(desk: Desk) -> list[tuple[str, int]]:
    """(table, token) of every committed write of ingest, in the order in which they were done."""

    def read(connection: Any) -> list[tuple[str, str]]:
        return list(connection.execute("SELECT what, session FROM writes ORDER BY at, place").fetchall())

    rows = desk.store.connections.run(read)
    return [(what, int(session.rpartition("#")[2])) for what, session in rows if session.startswith("lease ")]


def never_together(writes: list[tuple[str, int]]) -> None:
    tokens = [token for _, token in writes]
    assert tokens == sorted(tokens), "a write under an older token came after one under a newer"


async def test_two_supervisors_that_start_at_once_make_one_writer(
    make_desk: Callable[..., Desk], programs: Programs
) -> None:
    desk = make_desk(4, speed=10.0)
    desk.store.connections.run(lambda connection: connection.execute(_WITNESS) and None)
    several = [programs.start(desk) for _ in range(2)]
    await desk.until(lambda: desk.state() == "live", 90)
    start = Timeframe.M1.ceil(desk.exchange.clock.now())
    first, before = holder(desk), len(seen(desk))
    end = start + Timeframe.M1.delta
    await desk.until(lambda: desk.exchange.clock.now() > end, 60)
    await desk.reach(start, end)
    assert holder(desk) == first
    (token,) = {token for _, token in seen(desk)[before:]}  # the other stood by
    # the holder ends: the one that stood by goes on
    (ended,) = [one for one in several if f":{one.pid}:" in first]
    ended.kill()
    await desk.until(lambda: holder(desk) not in ("", first), 60)
    await desk.until(lambda: max(token for _, token in seen(desk)) == token + 1, 60)
    never_together(seen(desk))


async def test_holders_that_are_paused_again_and_again_never_write_beside_their_successor(
    make_desk: Callable[..., Desk], programs: Programs
) -> None:
    """Paused at any point, for longer than the lease, then woken while the successor writes. CRYPTO_PIPELINE_SOAK=1
    does it five times over."""
    rng, times = random.Random(), 5 if "CRYPTO_PIPELINE_SOAK" in os.environ else 1
    desk = make_desk(4, speed=10.0)
    desk.store.connections.run(lambda connection: connection.execute(_WITNESS) and None)
    old = programs.start(desk)
    await held_by(desk, old)
    start = Timeframe.M1.ceil(desk.exchange.clock.now())
    for _ in range(times):
        new = programs.start(desk)
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        old.send_signal(signal.SIGSTOP)
        await held_by(desk, new)
        count = len(seen(desk))
        old.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(old.wait, 30) == 0
        await desk.until(lambda before=count: len(seen(desk)) > before + 20, 30)  # type: ignore[misc]
        old = new
    end = Timeframe.M1.floor(desk.exchange.clock.now())
    await desk.reach(start, end)
    writes = seen(desk)
    never_together(writes)
    assert sorted({token for _, token in writes}) == list(range(1, times + 2))
    assert {what for what, _ in writes} == _TABLES


async def test_one_whose_run_is_over_hands_over_to_the_first_that_stands_by_and_a_third_ends(
    make_desk: Callable[..., Desk],
) -> None:
    desk = make_desk(2, speed=10.0)
    stop, duty = asyncio.Event(), Duty()

    def start(name: str, duty: Duty | None = None) -> asyncio.Task[str]:
        return asyncio.create_task(
            run_ingest(desk.settings, stop=stop, store=desk.store, holder=name, duty=duty), name=name
        )

    first = start("first", duty)
    await desk.until(lambda: holder(desk) == "first" and duty.live.is_set(), 60)
    duty.over.set()
    await desk.until(lambda: desk.state() == "rotating", 30)
    assert not first.done(), "nobody stands by: it goes on"
    duty.over.clear()
    await desk.until(lambda: desk.state() == "live", 30)
    second = start("second")
    await desk.until(lambda: waiting(desk) == "second", 30)
    assert await asyncio.wait_for(start("third"), 30) == "crowded"
    duty.over.set()
    assert await asyncio.wait_for(first, 30) == "rotated"
    await desk.until(lambda: holder(desk) == "second", 30)
    stop.set()
    assert await asyncio.wait_for(second, 30) == "stopped"


def waiting(desk: Desk) -> str | None:
    return next(row.waiting for row in desk.store.leases.rows() if row.name == "ingest-0")
