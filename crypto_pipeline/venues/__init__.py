"""Venues: a folder for each venue, the protocols that all of them implement, and the client that all of them share.

A venue's addresses, parameters, request weights, error codes, bodies, archive files and stream frames belong here.
``client`` makes requests and reads streams; ``registry`` lists the venues.
Not here: the choice of requests and the meaning of a missing bar (healing), the use of a stream (ingest), storage
(store), the exchange for tests (replay). No Dagster, no SQL.
"""

from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.binance.rest import BinanceSpot
from crypto_pipeline.venues.binance.stream import BinanceStream
from crypto_pipeline.venues.client.budget import MemoryBudget
from crypto_pipeline.venues.client.http import HttpClient, RequestPolicy
from crypto_pipeline.venues.client.responses import NotFound, RateLimited
from crypto_pipeline.venues.coinbase.rest import CoinbaseExchange
from crypto_pipeline.venues.coinbase.stream import CoinbaseStream
from crypto_pipeline.venues.kraken.rest import KrakenSpot
from crypto_pipeline.venues.kraken.stream import KrakenStream
from crypto_pipeline.venues.massive.crypto import MassiveCrypto
from crypto_pipeline.venues.massive.stocks import MassiveStocks
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    BudgetLimit,
    CorporateActionsAnswer,
    FetchPlan,
    Listing,
    ListingStatus,
    MalformedAnswer,
    RejectedRow,
    RequestBudget,
    SpanRefused,
    StatesCorporateActions,
    StatesFormerListings,
    TradesAnswer,
    UnknownSymbol,
    Venue,
    VenueError,
    VenueStatus,
    VenueTraits,
    VenueUnavailable,
    invalid_data,
)
from crypto_pipeline.venues.registry import (
    REGISTRY,
    VenueEntry,
    collected_venues,
    make_stand_ins,
    make_stream,
    make_venue,
    offered_instruments,
    require_keys,
    settings_at,
    stand_in_names,
    streams,
    traits_of,
    venue_entry,
)
from crypto_pipeline.venues.stand_ins import StandIns
from crypto_pipeline.venues.stream_protocol import (
    Alive,
    Anchor,
    Event,
    LastingRefusal,
    LiveBar,
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
    "REGISTRY",
    "Alive",
    "Anchor",
    "BarsAnswer",
    "BinanceSpot",
    "BinanceStream",
    "BudgetLimit",
    "CoinbaseExchange",
    "CoinbaseStream",
    "CorporateActionsAnswer",
    "Event",
    "FetchPlan",
    "HttpClient",
    "KrakenSpot",
    "KrakenStream",
    "LastingRefusal",
    "Listing",
    "ListingStatus",
    "LiveBar",
    "LiveTrade",
    "MalformedAnswer",
    "MassiveCrypto",
    "MassiveStocks",
    "MemoryBudget",
    "NotFound",
    "Notice",
    "RateLimited",
    "RejectedRow",
    "RequestBudget",
    "RequestPolicy",
    "SpanRefused",
    "StandIns",
    "StatesCorporateActions",
    "StatesFormerListings",
    "StreamClosed",
    "StreamConnection",
    "StreamPlan",
    "StreamRefused",
    "StreamTraits",
    "StreamingVenue",
    "TradesAnswer",
    "UnknownSymbol",
    "Venue",
    "VenueEntry",
    "VenueError",
    "VenueStatus",
    "VenueTraits",
    "VenueUnavailable",
    "collected_venues",
    "frame_of_live_trades",
    "invalid_data",
    "make_stand_ins",
    "make_stream",
    "make_venue",
    "offered_instruments",
    "require_keys",
    "settings_at",
    "stand_in_names",
    "streams",
    "traits_of",
    "venue_entry",
]
