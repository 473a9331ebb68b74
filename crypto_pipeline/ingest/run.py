"""The program around the terms of ingest: open what is needed, take the lease, work, hand over, begin again."""

from __future__ import annotations

import asyncio
import logging
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crypto_pipeline.ingest.after_minute import OnMinute, Report
from crypto_pipeline.ingest.lease import Duty, Holder, holder_name
from crypto_pipeline.ingest.term import Ingest
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import LeaseLost, Store, StoreError, resolve_url
from crypto_pipeline.venues import Venue, make_venue
from crypto_pipeline.venues.stream_protocol import StreamingVenue

log = logging.getLogger(__name__)


async def run_ingest(
    settings: Settings,
    shard: int = 0,
    shards: int | None = None,
    stop: asyncio.Event | None = None,
    report: Report | None = None,
    on_minute: OnMinute | None = None,
    *,
    store: Store | None = None,
    holder: str | None = None,
    duty: Duty | None = None,
) -> str:
    """Ingest one shard of the instruments until ``stop`` is set, or until it was relieved after its time.

    Waits for the lease as long as somebody else holds it. Returns ``stopped``, ``rotated`` (a stand-by took over),
    ``lost`` (somebody else holds the lease) or ``crowded`` (another one stands by already). ``report`` gets a summary
    once a minute. Raises StoreError when there is no database, and ValueError for a shard that cannot be.
    """
    count = settings.ingest_shards if shards is None else shards
    if not 0 <= shard < count:
        raise ValueError(f"shard {shard} of {count}: use 0 to {count - 1}")
    stop = stop or asyncio.Event()
    opened = store or Store(resolve_url(settings))
    claim = Holder(opened, heartbeat_name(shard), holder or holder_name(), settings.ingest_lease_seconds)
    duty = duty or Duty()
    try:
        if (taken := await claim.take(stop, duty)) != "taken":
            log.info("%s: %s", claim.name, taken)
            return taken
        log.info("%s: the lease is ours (token %d)", claim.name, claim.lease.token if claim.lease else 0)
        while True:
            async with _open(settings, opened) as (venue, stream):
                instruments = await _instruments(claim, venue.name, shard, count, stop)
                ingest = Ingest(settings, claim, venue, stream, instruments, report, on_minute, duty)
                why = await ingest.run(stop)
            if why != "changed":
                log.info("%s: %s", claim.name, why)
                return why
    except LeaseLost as error:
        log.warning("%s", error)
        return "lost"
    finally:
        try:
            await asyncio.to_thread(claim.release)
        except StoreError as error:  # it runs out by itself
            log.warning("%s", error)
        if store is None:
            opened.close()


def heartbeat_name(shard: int) -> str:
    """What the lease and the heartbeat row of a shard are called."""
    return f"ingest-{shard}"


def in_shard(symbol: str, shard: int, shards: int) -> bool:
    """Whether an instrument belongs to a shard: by its name alone, so that others moving in and out change nothing."""
    return zlib.crc32(symbol.encode()) % shards == shard


def wanted(store: Store, venue: str, shard: int, shards: int) -> list[tuple[str, str]]:
    """(canonical name, venue symbol) of what a shard collects now."""
    rows = store.instruments.frame(venue)
    return [
        (row["instrument"], row["venue_symbol"])
        for row in rows.iter_rows(named=True)
        if row["active"]
        and row["venue_symbol"] is not None
        and row["delisted"] is None
        and in_shard(row["instrument"], shard, shards)
    ]


async def _instruments(
    claim: Holder, venue: str, shard: int, shards: int, stop: asyncio.Event
) -> list[tuple[str, str]]:
    """What is to be ingested; waits, and keeps the lease, while there is nothing. Raises LeaseLost."""
    told = False
    while not (found := await asyncio.to_thread(wanted, claim.plain, venue, shard, shards)) and not stop.is_set():
        if not told:
            log.warning("no instrument of shard %d of %d is listed on %s yet", shard, shards, venue)
            told = True
        await asyncio.to_thread(claim.beat, {"state": "waiting", "pid": os.getpid(), "venue": venue, "instruments": 0})
        try:
            await asyncio.wait_for(stop.wait(), min(2.0, claim.seconds / 3))
        except TimeoutError:
            continue
    return found


@asynccontextmanager
async def _open(settings: Settings, store: Store) -> AsyncIterator[tuple[Venue, StreamingVenue]]:
    from crypto_pipeline.venues import make_stream

    venue = make_venue(settings, store.budgets.of(settings.venue))
    stream = make_stream(settings)
    try:
        yield venue, stream
    finally:
        await stream.close()
        await venue.close()
