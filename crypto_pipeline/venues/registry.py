"""The registry of venues: one entry per venue, and the functions that make clients from an entry.

A new venue needs a folder beside ``binance``, a line in ``names.txt``, an entry here, its part in the tests' contract,
and a page of the docs. ``ccxt_NAME`` is an exchange of the package ccxt, imported when a client of one is made. An
installed package adds a venue without any of that, by an entry point of the group ``crypto_pipeline.venues``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from crypto_pipeline.addresses import base_url
from crypto_pipeline.market.instruments import AssetClass, Instrument
from crypto_pipeline.market.universe import load_universe
from crypto_pipeline.settings import PREFIX, Settings
from crypto_pipeline.venue_names import ccxt_exchange, has_stream, own_venues, refuse_unknown_venue
from crypto_pipeline.venues.binance.rest import BinanceSpot
from crypto_pipeline.venues.binance.stream import BinanceStream
from crypto_pipeline.venues.ccxt.traits import CCXT_TRAITS
from crypto_pipeline.venues.client.http import RequestPolicy
from crypto_pipeline.venues.coinbase.rest import CoinbaseExchange
from crypto_pipeline.venues.coinbase.stream import CoinbaseStream
from crypto_pipeline.venues.kraken.rest import KrakenSpot
from crypto_pipeline.venues.kraken.stream import KrakenStream
from crypto_pipeline.venues.massive.crypto import MassiveCrypto
from crypto_pipeline.venues.massive.stocks import MassiveStocks
from crypto_pipeline.venues.massive.stream import MassiveStream
from crypto_pipeline.venues.protocol import RequestBudget, Venue, VenueTraits
from crypto_pipeline.venues.stand_ins import StandIns
from crypto_pipeline.venues.stream_protocol import StreamingVenue


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What a client is made with.

    Attributes:
        settings: Addresses and limits.
        budget: Account of request weight that processes share; None: each for itself.
        policy: Timeouts and retries.
    """

    settings: Settings
    budget: RequestBudget | None
    policy: RequestPolicy


@dataclass(frozen=True, slots=True)
class VenueEntry:
    """One venue: facts about its data, its REST client, and its stream (None: only a substitute for other venues)."""

    traits: VenueTraits
    rest: Callable[[ClientOptions], Venue]
    stream: Callable[[ClientOptions], StreamingVenue] | None = None
    #: see StreamTraits
    single_connection: bool = False


def _binance_at(name: str, url: str, archive_url: str, options: ClientOptions) -> BinanceSpot:
    settings = options.settings
    return BinanceSpot(
        url,
        archive_url,
        options.budget,
        name=name,
        share=settings.budget_share,
        archive_min_days=settings.archive_min_days,
        policy=options.policy,
    )


def _binance(options: ClientOptions) -> BinanceSpot:
    return _binance_at("binance", options.settings.binance_url, options.settings.binance_archive_url, options)


def _replay(options: ClientOptions) -> BinanceSpot:
    url = base_url(options.settings.host, options.settings.replay_port)
    return _binance_at("replay", url, url, options)


def _replay_standby(options: ClientOptions) -> BinanceSpot:
    url = base_url(options.settings.host, options.settings.replay_standby_port)
    return _binance_at("replay_standby", url, url, options)


def _coinbase(options: ClientOptions) -> CoinbaseExchange:
    settings = options.settings
    return CoinbaseExchange(settings.coinbase_url, options.budget, share=settings.budget_share, policy=options.policy)


def _kraken(options: ClientOptions) -> KrakenSpot:
    settings = options.settings
    return KrakenSpot(settings.kraken_url, options.budget, share=settings.budget_share, policy=options.policy)


def _massive_stocks(options: ClientOptions) -> MassiveStocks:
    return MassiveStocks(**_massive(options))


def _massive_crypto(options: ClientOptions) -> MassiveCrypto:
    return MassiveCrypto(**_massive(options))


def _massive(options: ClientOptions) -> dict[str, Any]:
    """Arguments of both clients. The replay exchange takes every key, is never late and allows what it is asked."""
    settings = options.settings
    key = "" if settings.massive_key is None else settings.massive_key.get_secret_value()
    if settings.massive_source == "replay":
        of_venue: dict[str, Any] = {
            "key": key or _REPLAY_KEY,
            "base_url": base_url(settings.host, settings.replay_port),
            "requests_per_minute": _REPLAY_REQUESTS,
        }
    else:
        of_venue = {
            "key": key,
            "base_url": settings.massive_url,
            "requests_per_minute": settings.massive_requests_per_minute,
            "delay": timedelta(0) if settings.massive_feed == "realtime" else _MASSIVE_DELAY,
        }
    return {"budget": options.budget, "policy": options.policy, **of_venue}


def _massive_stocks_stream(options: ClientOptions) -> MassiveStream:
    return _massive_stream("massive", "stocks", options.settings)


def _massive_crypto_stream(options: ClientOptions) -> MassiveStream:
    return _massive_stream("massive_crypto", "crypto", options.settings)


def _massive_stream(name: str, market: str, settings: Settings) -> MassiveStream:
    key = "" if settings.massive_key is None else settings.massive_key.get_secret_value()
    if settings.massive_source == "replay":
        key, url = key or _REPLAY_KEY, base_url(settings.host, settings.replay_port, "ws")
    elif settings.massive_url != Settings.model_fields["massive_url"].default:
        url = settings.massive_url.replace("http", "ws", 1)  # a server of another address has both
    else:
        url = _MASSIVE_STREAMS["realtime" if settings.massive_feed == "realtime" else "delayed"]
    return MassiveStream(key, url, market=market, name=name, timeout=settings.request_timeout)


def _replay_stream(options: ClientOptions) -> BinanceStream:
    return _binance_stream_at("replay", options.settings.replay_port, options.settings)


def _replay_standby_stream(options: ClientOptions) -> BinanceStream:
    return _binance_stream_at("replay_standby", options.settings.replay_standby_port, options.settings)


def _binance_stream_at(name: str, port: int, settings: Settings) -> BinanceStream:
    url = base_url(settings.host, port, "ws")
    return BinanceStream(url, name=name, timeout=settings.request_timeout)


def _binance_stream(options: ClientOptions) -> BinanceStream:
    return BinanceStream(options.settings.binance_stream_url, timeout=options.settings.request_timeout)


def _coinbase_stream(options: ClientOptions) -> CoinbaseStream:
    return CoinbaseStream(options.settings.coinbase_stream_url, timeout=options.settings.request_timeout)


def _kraken_stream(options: ClientOptions) -> KrakenStream:
    return KrakenStream(options.settings.kraken_stream_url, timeout=options.settings.request_timeout)


#: What plans of Massive without real time are behind.
_MASSIVE_DELAY = timedelta(minutes=15)
#: Where its streams are.
_MASSIVE_STREAMS = {"realtime": "wss://socket.massive.com", "delayed": "wss://delayed.massive.com"}
#: Key and requests a minute at a replay exchange.
_REPLAY_KEY, _REPLAY_REQUESTS = "replay", 60_000

#: All venues by name. The replay exchange has Binance's interface.
REGISTRY: dict[str, VenueEntry] = {
    "replay": VenueEntry(BinanceSpot.traits, _replay, _replay_stream),
    "binance": VenueEntry(BinanceSpot.traits, _binance, _binance_stream),
    "coinbase": VenueEntry(CoinbaseExchange.traits, _coinbase, _coinbase_stream),
    "kraken": VenueEntry(KrakenSpot.traits, _kraken, _kraken_stream),
    "massive": VenueEntry(MassiveStocks.traits, _massive_stocks, _massive_stocks_stream, True),
    "massive_crypto": VenueEntry(MassiveCrypto.traits, _massive_crypto, _massive_crypto_stream, True),
    "replay_standby": VenueEntry(BinanceSpot.traits, _replay_standby, _replay_standby_stream),
}


def venue_entry(name: str) -> VenueEntry:
    """The entry of a venue. Raises ValueError in one line with the fix."""
    refuse_unknown_venue(name)
    if name not in REGISTRY and name in own_venues():
        return _own_entry(name)
    stream = partial(_ccxt_stream, name) if has_stream(name) else None
    return REGISTRY.get(name) or VenueEntry(CCXT_TRAITS, partial(_ccxt, name), stream)


def _own_entry(name: str) -> VenueEntry:
    """The entry of a venue that an installed package adds."""
    point = own_venues()[name]
    entry = point.load()
    if not isinstance(entry, VenueEntry):
        raise ValueError(f"the venue {name}: {point.value} is no VenueEntry of crypto_pipeline.venues")
    return entry


def _ccxt(name: str, options: ClientOptions) -> Venue:
    from crypto_pipeline.venues.ccxt.rest import CcxtRest  # imports ccxt, which takes long

    settings, exchange = options.settings, ccxt_exchange(name) or name
    return CcxtRest(
        exchange,
        settings.ccxt_urls.get(exchange),
        options.budget,
        name=name,
        share=settings.budget_share,
        policy=options.policy,
    )


def _ccxt_stream(name: str, options: ClientOptions) -> StreamingVenue:
    from crypto_pipeline.venues.ccxt.stream import CcxtStream  # imports ccxt, which takes long

    exchange = ccxt_exchange(name) or name
    url = options.settings.ccxt_urls.get(exchange)
    return CcxtStream(exchange, url, options.budget, name=name, policy=options.policy)


def collected_venues(settings: Settings) -> tuple[str, ...]:
    """Names of the venues whose series a deployment collects, in the order of the universe file.

    A venue that was set by name is the only one, beside the one that stocks come from. Raises ValueError for a universe
    file that is wrong, or that names a venue which does not exist.
    """
    by_name = "venue" in settings.model_fields_set
    if by_name and settings.stocks_venue is None:
        return (settings.venue,)
    named: dict[str, None] = dict.fromkeys((settings.venue,) if by_name else ())
    for one in offered_instruments(settings):
        if one.venue is None and one.asset_class is traits_of(settings.venue).asset_class:
            named[settings.venue] = None
        elif one.venue is not None and (not by_name or one.venue == settings.stocks_venue):
            named[one.venue] = None
    return tuple(named) or (settings.venue,)


def settings_at(settings: Settings, venue: str) -> Settings:
    """The settings for the series of ``venue`` in this deployment. Raises as ``collected_venues`` does."""
    return settings.at(venue, first=venue == collected_venues(settings)[0])


def require_keys(settings: Settings) -> None:
    """Raise ValueError in one line with the fix where a venue of the deployment cannot be asked for bars.

    It takes requests with a key alone, or it is an exchange of ccxt that gives no bars.
    """
    for venue in collected_venues(settings):
        if ccxt_exchange(venue) is not None:
            make_venue(settings, venue=venue)
        key = settings.massive_key.get_secret_value().strip() if settings.massive_key is not None else ""
        if venue.startswith("massive") and settings.massive_source == "massive" and not key:
            raise ValueError(
                f"the venue {venue} needs a key: set {PREFIX}MASSIVE_KEY in the environment to one of "
                "https://massive.com/dashboard/keys"
            )


def offered_instruments(settings: Settings) -> list[Instrument]:
    """The universe that the settings name, its stocks with the venue that they come from where one is set.

    Raises ValueError for a file that is wrong, or that names a venue which does not exist.
    """
    offered = []
    for one in load_universe(settings.universe_file):
        if one.venue is not None and one.venue not in REGISTRY:
            try:
                refuse_unknown_venue(one.venue)
            except ValueError as error:
                raise ValueError(f"universe, venue of {one.symbol}: {error}") from None
        if settings.stocks_venue is not None and one.venue is None and one.asset_class is AssetClass.STOCK:
            offered.append(one.model_copy(update={"venue": settings.stocks_venue}))
        else:
            offered.append(one)
    return offered


def make_venue(settings: Settings, budget: RequestBudget | None = None, venue: str | None = None) -> Venue:
    """The REST client of ``venue``, by default the one in the settings. Raises ValueError that lists the venues."""
    return venue_entry(venue or settings.venue).rest(_client_options(settings, budget))


def make_stream(settings: Settings, venue: str | None = None, budget: RequestBudget | None = None) -> StreamingVenue:
    """The stream of ``venue``, by default the one in the settings. Raises ValueError that lists the venues.

    ``budget`` is for requests that some streams need, as of their address.
    """
    name = venue or settings.venue
    stream = venue_entry(name).stream
    if stream is None:
        others = ", ".join(each for each, entry in REGISTRY.items() if entry.stream is not None)
        raise ValueError(f"{name} has no stream: use one of {others}")
    return stream(_client_options(settings, budget))


def _client_options(settings: Settings, budget: RequestBudget | None) -> ClientOptions:
    policy = RequestPolicy(
        timeout=settings.request_timeout,
        attempts=settings.request_attempts,
        concurrency=settings.fetch_concurrency,
    )
    return ClientOptions(settings, budget, policy)


def streams(settings: Settings, venue: str) -> bool:
    """Whether live bars are made of the venue's stream; otherwise its bars come by REST alone."""
    return has_stream(venue) and not (venue.startswith("massive") and settings.massive_feed == "rest")


def traits_of(venue: str) -> VenueTraits:
    """Facts about the data of a venue; no client is made. Raises ValueError that lists the venues."""
    return venue_entry(venue).traits


def stand_in_names(settings: Settings) -> list[str]:
    """Names of the venues that stand in for the first by default, in this order."""
    return settings.failover_venues.split(",") if settings.failover_venues else []


def make_stand_ins(settings: Settings, budgets: Callable[[str], RequestBudget] | None = None) -> StandIns:
    """The substitute venues from the settings and the universe file; each client is opened on first use.

    ``budgets`` returns the request budget of a venue. Raises ValueError for an invalid universe file or unknown venue.
    """
    lists = {one.symbol: one.failover for one in load_universe(settings.universe_file) if one.failover}
    for symbol, names in lists.items():
        if unknown := [name for name in names if name not in REGISTRY]:
            raise ValueError(
                f"universe, failover of {symbol}: {unknown[0]!r} is not a venue: use {', '.join(REGISTRY)}"
            )

    def open_venue(name: str) -> Venue:
        return make_venue(settings, budgets(name) if budgets is not None else None, name)

    return StandIns(settings.venue, open_venue, stand_in_names(settings), lists)
