"""Ingest's heartbeats as observations of the assets that it writes: ``trades`` and ``live_prices``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base.subjects import LIVE_PRICES, TRADES
from crypto_pipeline.store.coordination.heartbeats import Heartbeat

#: A shard whose state does not change is observed this often: events stay in Dagster's storage.
EVERY = timedelta(hours=1)
#: Figures of a heartbeat that an observation shows, by the name that it shows them under.
_FIGURES = {
    "instruments": "instruments",
    "links": "connections",
    "stored": "trades_stored",
    "waiting": "trades_waiting",
    "lag_ms": "price_lag_ms",
    "bar_lag_ms": "bar_lag_ms",
    "link_cuts": "connections_lost",
}


def observations(
    beats: Mapping[str, Heartbeat | None], cursor: str | None, now: datetime
) -> tuple[list[dg.AssetObservation], str]:
    """Observations for the shards that are due, and the sensor's next cursor.

    ``beats``: the newest heartbeat of each shard, by its label. The cursor remembers when each shard was observed in
    which state; one is due every hour and whenever its state changes. A shard without a heartbeat is never observed.
    """
    observed: dict[str, list[str]] = json.loads(cursor or "{}")
    events = []
    for shard, beat in beats.items():
        if beat is None:
            continue
        state = str(beat.detail.get("state"))
        last_state, last_time = observed.get(shard, ("", ""))
        if state == last_state and now - datetime.fromisoformat(last_time) < EVERY:
            continue
        observed[shard] = [state, now.isoformat()]
        events += [dg.AssetObservation(key, metadata=_metadata(shard, beat)) for key in (TRADES, LIVE_PRICES)]
    return events, json.dumps(observed)


def _metadata(shard: str, beat: Heartbeat) -> dict[str, Any]:
    figures = {shown: beat.detail[name] for name, shown in _FIGURES.items() if beat.detail.get(name) is not None}
    return {
        "shard": shard,
        "state": str(beat.detail.get("state")),
        "venue": str(beat.detail.get("venue")),
        "heartbeat": dg.MetadataValue.timestamp(beat.beat),
        **figures,
    }
