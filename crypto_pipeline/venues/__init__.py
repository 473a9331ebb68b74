"""Venues: one module per venue behind one Venue protocol, and the HTTP manners that all of them share.

Here belongs everything that knows how a venue talks: addresses, parameters, weights, error codes, bodies, archive
files, and how to be a patient client (budget, retries, breaker). What is asked for and what absence means is decided
in healing; where bars are kept is store's matter; an exchange of our own to talk to is replay's. No Dagster, no SQL.
"""

from crypto_pipeline.settings import VENUES, Settings
from crypto_pipeline.venues.binance import BinanceSpot
from crypto_pipeline.venues.binance_stream import BinanceStream
from crypto_pipeline.venues.budget import MemoryBudget
from crypto_pipeline.venues.coinbase_stream import CoinbaseStream
from crypto_pipeline.venues.http import HttpClient, Manners, NotFound, RateLimited
from crypto_pipeline.venues.kraken_stream import KrakenStream
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    BudgetLimit,
    FetchPlan,
    Listing,
    ListingStatus,
    MalformedAnswer,
    RequestBudget,
    TradesAnswer,
    UnknownSymbol,
    Venue,
    VenueError,
    VenueStatus,
    VenueTraits,
    VenueUnavailable,
)
from crypto_pipeline.venues.streaming import (
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
    "CoinbaseStream",
    "Event",
    "FetchPlan",
    "HttpClient",
    "KrakenStream",
    "Listing",
    "ListingStatus",
    "LiveBar",
    "LiveTrade",
    "MalformedAnswer",
    "Manners",
    "MemoryBudget",
    "NotFound",
    "Notice",
    "RateLimited",
    "RequestBudget",
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
    "frame_of_live_trades",
    "make_stream",
    "make_venue",
]


def make_venue(settings: Settings, budget: RequestBudget | None = None) -> BinanceSpot:
    """The venue that the settings name. Raises ValueError that names the choices."""
    addresses = {
        "replay": (f"http://{settings.host}:{settings.replay_port}",) * 2,
        "binance": (settings.binance_url, settings.binance_archive_url),
    }
    if settings.venue not in addresses:
        raise ValueError(f"unknown venue {settings.venue!r}: use one of {', '.join(VENUES)}")
    base_url, archive_url = addresses[settings.venue]
    return BinanceSpot(
        base_url,
        archive_url,
        budget,
        timeout=settings.request_timeout,
        attempts=settings.request_attempts,
        concurrency=settings.fetch_concurrency,
        name=settings.venue,
        share=settings.budget_share,
        archive_min_days=settings.archive_min_days,
    )


def make_stream(settings: Settings, venue: str | None = None) -> StreamingVenue:
    """The live side of the venue that the settings name, or of another. Raises ValueError that names the choices."""
    name = venue or settings.venue
    wait = settings.request_timeout
    match name:
        case "replay":
            return BinanceStream(f"ws://{settings.host}:{settings.replay_port}", name=name, timeout=wait)
        case "binance":
            return BinanceStream(settings.binance_stream_url, name=name, timeout=wait)
        case "coinbase":
            return CoinbaseStream(settings.coinbase_stream_url, timeout=wait)
        case "kraken":
            return KrakenStream(settings.kraken_stream_url, timeout=wait)
    raise ValueError(f"unknown venue {name!r}: use one of {', '.join(VENUES)}")
