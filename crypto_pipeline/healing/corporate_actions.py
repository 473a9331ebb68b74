"""Corporate actions: what the venue states of each instrument is stored, twice a day."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.store import Store
from crypto_pipeline.venues import StatesCorporateActions, Venue, VenueError, invalid_data

log = logging.getLogger(__name__)

#: Time between two requests for the same instrument.
EVERY = timedelta(hours=12)


async def sync_corporate_actions(
    store: Store, venue: Venue, instruments: pl.DataFrame, now: datetime
) -> dict[str, str]:
    """Store the splits, dividends and renames of ``instruments`` (``instrument``, ``venue_symbol``) where that is due.

    ``now`` is the venue's time. Returns the failures by instrument; one that fails does not stop the others, and is
    asked for again with the next pass. Does nothing for a venue that states none. Raises StoreError.
    """
    if not isinstance(venue, StatesCorporateActions):
        return {}
    name = f"corporate_actions:{venue.name}"
    row = await asyncio.to_thread(store.heartbeats.get, name)
    asked = dict(row.detail["asked"]) if row is not None else {}
    fresh = {one for one, at in asked.items() if now - datetime.fromisoformat(at) < EVERY}
    problems: dict[str, str] = {}
    synced: dict[str, str] = {}
    for instrument, symbol in instruments.select("instrument", "venue_symbol").drop_nulls().iter_rows():
        if instrument in fresh:
            continue
        try:
            answer = await venue.corporate_actions(instrument, symbol)
        except VenueError as error:
            problems[instrument] = f"no corporate actions: {error}"
            log.warning("%s: %s", instrument, problems[instrument])
            continue
        for one in answer.refused:
            problems[instrument] = f"{venue.name} {invalid_data(one.why)}"
            log.warning("%s: %s", instrument, problems[instrument])
        whole = [(instrument, kind) for kind in answer.whole]
        record = store.corporate_actions.record
        await asyncio.to_thread(record, answer.actions, venue.name, seen_at=answer.seen_at, whole=whole)
        synced[instrument] = now.isoformat()
    if synced:
        await asyncio.to_thread(store.heartbeats.beat, name, "synced", {"asked": asked | synced})
    return problems
