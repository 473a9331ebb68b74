"""The checks of FRED as a source: whether it answers, and whether it has answered for every series in time."""

from __future__ import annotations

import time
from dataclasses import replace

from crypto_pipeline.healing.checks.sources import connection
from crypto_pipeline.healing.macro.checks import check_macro
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import UnknownSymbol, VenueError
from crypto_pipeline.venues.client.http import MAX_PAUSE
from crypto_pipeline.venues.fred.rest import FredClient, make_fred

#: The check of macro series that judges whether FRED answered for each of them.
_FRESH = "is_fresh"


async def check_fred(store: Store, settings: Settings) -> list[CheckOutcome]:
    """The checks ``connection`` and ``freshness``, as of a venue. Raises StoreError.

    One request is sent, about the first collected series; none while FRED demands a pause of minutes.
    """
    begun = time.monotonic()
    down = await _why_down(store, settings)
    answered = connection(FredClient.name, down, time.monotonic() - begun)
    fresh = check_macro(store, store.clock.now(), [_FRESH])
    return [answered, *(replace(one, name="freshness", subject=FredClient.name) for one in fresh)]


async def _why_down(store: Store, settings: Settings) -> str | None:
    rows = store.macro.series()
    if not rows:
        return "no series is collected yet"
    if (paused := store.budgets.paused(FredClient.name)) > MAX_PAUSE:
        return f"it demands a pause of {paused:.0f} s"
    client = make_fred(settings, store.budgets.of(FredClient.name))
    try:
        if client.has_key:
            await client.series(rows[0].series_id)
        else:
            await client.csv(rows[0].series_id)
    except UnknownSymbol:
        return None
    except VenueError as error:
        return str(error)
    finally:
        await client.close()
    return None
