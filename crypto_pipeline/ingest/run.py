"""One shard of ingest as a whole: open what is needed, take the lease, work for one term, hand over."""

from __future__ import annotations

import asyncio
import logging
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crypto_pipeline.ingest.after_minute import OnMinute, Report
from crypto_pipeline.ingest.lease import Duty, Holder, holder_name
from crypto_pipeline.ingest.shards import heartbeat_name
from crypto_pipeline.ingest.stated_bars.term import BarTerm
from crypto_pipeline.ingest.term import Term
from crypto_pipeline.ingest.term_loop import TermInput
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
    name: str | None = None,
) -> str:
    """Ingest one shard of the instruments of a venue until ``stop`` is set, or until another process takes over.

    ``name`` is that of the lease (None: that of the first venue). Waits for the lease while another process holds it.
    Returns ``stopped``, ``rotated`` (a process that stood by took over), ``lost`` (another process holds the lease) or
    ``crowded`` (another process stands by already). ``on_minute`` and ``report`` are called in threads after each
    minute (see after_minute). Raises StoreError when there is no database, and ValueError for a shard number outside of
    ``0 … shards - 1``.
    """
    count = settings.ingest_shards if shards is None else shards
    if not 0 <= shard < count:
        raise ValueError(f"shard {shard} of {count}: use 0 to {count - 1}")
    stop, duty = stop or asyncio.Event(), duty or Duty()
    name = name or heartbeat_name(shard)
    try:
        async with (
            _claim(settings, store, name, holder, duty) as claim,
            _open(settings, claim.plain) as (venue, stream),
        ):
            # A first read imports libraries, for seconds on a busy machine: not while the lease is held.
            await asyncio.to_thread(instruments_of_shard, claim.plain, venue.name, shard, count)
            why: str = await claim.take(stop, duty)
            if why == "taken":
                log.info("%s: this process has the lease (token %d)", name, claim.lease.token if claim.lease else 0)
                instruments = await _instruments(claim, venue.name, shard, count, stop, duty)
                # without ids that rise by one, trades do not show that they are all there
                kind = Term if stream.stream_traits.contiguous_ids else BarTerm
                given = TermInput(settings, claim, venue, stream, instruments, report, on_minute, duty)
                why = await kind(given).run(stop) if instruments or stop.is_set() else "rotated"
    except LeaseLost as error:
        log.warning("%s", error)
        why = "lost"
    log.info("%s: %s", name, why)
    return why


@asynccontextmanager
async def _claim(
    settings: Settings, store: Store | None, name: str, holder: str | None, duty: Duty
) -> AsyncIterator[Holder]:
    """A claim to the lease, given back at the end; ``store`` is opened, and closed again, where none is given."""
    opened: Store = await asyncio.to_thread(_open_store, settings) if store is None else store
    claim = Holder(opened, name, holder or holder_name(), settings.ingest_lease_seconds, duty.worker)
    try:
        yield claim
    finally:
        try:
            await asyncio.to_thread(claim.release)
        except StoreError as error:  # it expires by itself
            log.warning("%s", error)
        if store is None:
            await asyncio.to_thread(opened.close)


def in_shard(symbol: str, shard: int, shards: int) -> bool:
    """Whether an instrument belongs to a shard: by its name alone, whatever other instruments there are."""
    return zlib.crc32(symbol.encode()) % shards == shard


def instruments_of_shard(store: Store, venue: str, shard: int, shards: int) -> list[tuple[str, str]]:
    """(canonical name, venue symbol) of the instruments that a shard collects now. Raises StoreError."""
    rows = store.instruments.frame(venue, own=True)
    return [
        (row["instrument"], row["venue_symbol"])
        for row in rows.iter_rows(named=True)
        if row["active"]
        and row["venue_symbol"] is not None
        and row["delisted"] is None
        and in_shard(row["instrument"], shard, shards)
    ]


async def _instruments(
    claim: Holder, venue: str, shard: int, shards: int, stop: asyncio.Event, duty: Duty
) -> list[tuple[str, str]]:
    """The instruments of the shard; waits, and keeps the lease, while there are none. Raises LeaseLost.

    Empty where it was stopped meanwhile, or is to hand over to another process that stands by.
    """
    logged = False
    arguments = claim.plain, venue, shard, shards
    while not (chosen := await asyncio.to_thread(instruments_of_shard, *arguments)) and not stop.is_set():
        if not logged:
            log.warning("no instrument of shard %d of %d is listed on %s yet", shard, shards, venue)
            logged = True
        waiting = {"state": "waiting", "pid": os.getpid(), "venue": venue, "instruments": 0}
        if await asyncio.to_thread(claim.beat, waiting) is not None and duty.over.is_set():
            break
        try:
            await asyncio.wait_for(stop.wait(), min(2.0, claim.seconds / 3))
        except TimeoutError:
            continue
    return chosen


def _open_store(settings: Settings) -> Store:
    return Store(resolve_url(settings))


@asynccontextmanager
async def _open(settings: Settings, store: Store) -> AsyncIterator[tuple[Venue, StreamingVenue]]:
    from crypto_pipeline.venues import make_stream

    budget = store.budgets.of(settings.venue)
    venue, stream = make_venue(settings, budget), make_stream(settings, budget=budget)
    try:
        yield venue, stream
    finally:
        await stream.close()
        await venue.close()
