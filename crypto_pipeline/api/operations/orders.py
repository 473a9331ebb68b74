"""Which run a request of the cache routes stands for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.operations.models import Market
from crypto_pipeline.api.operations.run_requests import RunOrder
from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.market_time import first_stored_day
from crypto_pipeline.settings import command
from crypto_pipeline.store.database.errors import UnknownInstrumentError, UnknownNameError

#: Hours back in which `/cache/refresh-live` looks for bars that lack.
_LIVE_HOURS = 2.0
#: Asset classes of instruments by the market that requests name.
_CLASSES: dict[str, Market] = {"crypto": "crypto", "stock": "stocks"}


def instrument(figures: DeploymentFigures, symbol: str) -> dict[str, Any]:
    """The row of an instrument that is or was collected. UnknownInstrumentError says how to collect it."""
    name = symbol.strip().upper() if "@" not in symbol else symbol.strip()
    found = figures.scrape.instrument(name) or figures.scrape.instrument(symbol)
    if found is None:
        near = did_you_mean(near_names(symbol, figures.scrape.symbols(), 1))
        raise UnknownInstrumentError(
            f"{symbol!r} is not collected: " + (f"{near} Otherwise add" if near else "add")
            + f" it with `{command('instruments', 'add', symbol)}`"
        )  # fmt: skip
    return found


def market_of(row: Mapping[str, Any]) -> Market | None:
    """The market of an instrument's row; None for a class that requests do not name."""
    return _CLASSES.get(row["asset_class"])


def refresh_live(figures: DeploymentFigures, market: Market | None) -> RunOrder:
    """The newest hours of every instrument of a market, or of all. UnknownNameError: it has none."""
    chosen: list[str] = []
    if market is not None:
        chosen = figures.scrape.symbols([name for name, one in _CLASSES.items() if one == market])
        if not chosen:
            raise UnknownNameError(f"no instrument of the market {market} is collected")
    config = {"hours": _LIVE_HOURS, "instruments": chosen, "job": "refresh_live"}
    return RunOrder(
        f"refresh-live {market or 'all'}", "live_gap_fill", {"ops": {"fill_found_gaps": {"config": config}}},
        {"live": "refresh_live"},
    )  # fmt: skip


def sync_historical(figures: DeploymentFigures, venue: str | None) -> RunOrder:
    """The historical sync of a venue, by default of the first one. UnknownNameError: nothing is collected from it."""
    collected = figures.scrape.venues()
    chosen = venue or (figures.settings.venue if figures.settings.venue in collected else next(iter(collected), ""))
    if chosen not in collected:
        raise UnknownNameError(
            f"nothing is collected from the venue {chosen!r}: use one of {', '.join(collected) or 'none'}"
        )
    return RunOrder(f"sync-historical {chosen}", f"historical_sync_{chosen}", {}, {})


def backfill_symbol(figures: DeploymentFigures, symbol: str, market: Market) -> RunOrder:
    """All days of one instrument. UnknownInstrumentError: it is not collected; ValueError: it is of another market."""
    row = instrument(figures, symbol)
    if not row["active"]:
        name = row["symbol"]
        raise UnknownInstrumentError(
            f"{name!r} is no longer collected: add it again with `{command('instruments', 'add', name)}`"
        )
    if market_of(row) != market:
        raise ValueError(f"{row['symbol']} is of the market {market_of(row) or row['asset_class']}, not of {market}")
    scope = {"resources": {"scope": {"config": {"instruments": [row["symbol"]]}}}}
    return RunOrder(f"backfill-symbol {row['symbol']}", "backfill_bars", scope, _all_days(figures))


def _all_days(figures: DeploymentFigures) -> dict[str, str]:
    """Tags of a run over every day of history: partitions of the job, which begin on a Monday."""
    now, settings = figures.scrape.now(), figures.settings
    asked = Timeframe.D1.floor(now - timedelta(days=settings.history_days))
    stored = first_stored_day(settings)
    first = Timeframe.W1.floor(asked if stored is None else min(asked, stored))
    return {
        "dagster/asset_partition_range_start": f"{first:%Y-%m-%d}",
        "dagster/asset_partition_range_end": f"{Timeframe.D1.floor(now):%Y-%m-%d}",
    }
