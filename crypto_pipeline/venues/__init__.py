"""Venues: a few modules per venue behind the Venue and StreamingVenue protocols, and the client that all share.

Here belongs everything that knows how a venue talks: addresses, parameters, weights, error codes, bodies, archive
files, stream frames, and how to be a patient client (budget, retries, breaker, pongs). What is asked for and what
absence means is decided in healing, what becomes of a stream in ingest; where bars are kept is store's matter; an
exchange of our own to talk to is replay's. No Dagster, no SQL.
"""

from collections.abc import Callable

from crypto_pipeline.addresses import base_url
from crypto_pipeline.market.universe import load_universe
from crypto_pipeline.settings import VENUES, Settings
from crypto_pipeline.venues.binance.rest import BinanceSpot
from crypto_pipeline.venues.binance.stream import BinanceStream
from crypto_pipeline.venues.client.budget import MemoryBudget
from crypto_pipeline.venues.client.http import HttpClient, RequestPolicy
from crypto_pipeline.venues.client.responses import NotFound, RateLimited
from crypto_pipeline.venues.coinbase.rest import CoinbaseExchange
from crypto_pipeline.venues.coinbase.stream import CoinbaseStream
from crypto_pipeline.venues.kraken.rest import KrakenSpot
from crypto_pipeline.venues.kraken.stream import KrakenStream
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    BudgetLimit,
    FetchPlan,
    Listing,
    ListingStatus,
    MalformedAnswer,
    Refused,
    RequestBudget,
    TradesAnswer,
    UnknownSymbol,
    Venue,
    VenueError,
    VenueStatus,
    VenueTraits,
    VenueUnavailable,
    cannot_be,
)
from crypto_pipeline.venues.stand_ins import StandIns
from crypto_pipeline.venues.stream_protocol import (
    Alive,
    Anchor,
    Event,
    LiveBar,
    LiveTrade,
    Notice,
    StreamClosed,
    StreamConnection,
    StreamingVenue,
    StreamPlan,
    StreamRefused,
    StreamTraits,
    frame_of_live_trades,
)

__all__ = [
    "Alive",
    "Anchor",
    "BarsAnswer",
    "BinanceSpot",
    "BinanceStream",
    "BudgetLimit",
    "CoinbaseExchange",
    "CoinbaseStream",
    "Event",
    "FetchPlan",
    "HttpClient",
    "KrakenSpot",
    "KrakenStream",
    "Listing",
    "ListingStatus",
    "LiveBar",
    "LiveTrade",
    "MalformedAnswer",
    "MemoryBudget",
    "NotFound",
    "Notice",
    "RateLimited",
    "Refused",
    "RequestBudget",
    "RequestPolicy",
    "StandIns",
    "StreamClosed",
    "StreamConnection",
    "StreamPlan",
    "StreamRefused",
    "StreamTraits",
    "StreamingVenue",
    "TradesAnswer",
    "UnknownSymbol",
    "Venue",
    "VenueError",
    "VenueStatus",
    "VenueTraits",
    "VenueUnavailable",
    "cannot_be",
    "frame_of_live_trades",
    "make_stand_ins",
    "make_stream",
    "make_venue",
    "traits_of",
]


def make_venue(settings: Settings, budget: RequestBudget | None = None, venue: str | None = None) -> Venue:
    """The venue that the settings name, or another. Raises ValueError that names the choices."""
    name = venue or settings.venue
    policy = RequestPolicy(
        timeout=settings.request_timeout,
        attempts=settings.request_attempts,
        concurrency=settings.fetch_concurrency,
    )
    share, days = settings.budget_share, settings.archive_min_days
    match name:
        case "replay":
            url = base_url(settings.host, settings.replay_port)
            return BinanceSpot(url, url, budget, name=name, share=share, archive_min_days=days, policy=policy)
        case "replay_standby":
            url = base_url(settings.host, settings.replay_standby_port)
            return BinanceSpot(url, url, budget, name=name, share=share, archive_min_days=days, policy=policy)
        case "binance":
            url, archive = settings.binance_url, settings.binance_archive_url
            return BinanceSpot(url, archive, budget, name=name, share=share, archive_min_days=days, policy=policy)
        case "coinbase":
            return CoinbaseExchange(settings.coinbase_url, budget, share=share, policy=policy)
        case "kraken":
            return KrakenSpot(settings.kraken_url, budget, share=share, policy=policy)
    raise ValueError(f"unknown venue {name!r}: use one of {', '.join(VENUES)}")


def traits_of(venue: str) -> VenueTraits:
    """Facts about the data of a venue, without a client of it. Raises ValueError that names the choices."""
    match venue:
        case "replay" | "replay_standby" | "binance":
            return BinanceSpot.traits
        case "coinbase":
            return CoinbaseExchange.traits
        case "kraken":
            return KrakenSpot.traits
    raise ValueError(f"unknown venue {venue!r}: use one of {', '.join(VENUES)}")


def make_stand_ins(settings: Settings, budgets: Callable[[str], RequestBudget] | None = None) -> StandIns:
    """The venues that stand in for the first one, as settings and universe file say; opened when they are needed.

    ``budgets`` gives each venue's account. Raises ValueError for a universe file that is wrong or names no such venue.
    """
    lists = {one.symbol: one.failover for one in load_universe(settings.universe_file) if one.failover}
    for symbol, names in lists.items():
        if strangers := [name for name in names if name not in VENUES]:
            raise ValueError(f"universe, failover of {symbol}: {strangers[0]!r} is no venue: use {', '.join(VENUES)}")
    default = (settings.failover_venues or "").split(",")

    def open_venue(name: str) -> Venue:
        return make_venue(settings, budgets(name) if budgets is not None else None, name)

    return StandIns(settings.venue, open_venue, filter(None, default), lists)


def make_stream(settings: Settings, venue: str | None = None) -> StreamingVenue:
    """The live side of the venue that the settings name, or of another. Raises ValueError that names the choices."""
    name = venue or settings.venue
    wait = settings.request_timeout
    match name:
        case "replay":
            return BinanceStream(base_url(settings.host, settings.replay_port, "ws"), name=name, timeout=wait)
        case "binance":
            return BinanceStream(settings.binance_stream_url, name=name, timeout=wait)
        case "coinbase":
            return CoinbaseStream(settings.coinbase_stream_url, timeout=wait)
        case "kraken":
            return KrakenStream(settings.kraken_stream_url, timeout=wait)
    raise ValueError(f"unknown venue {name!r}: use one of {', '.join(VENUES)}")
