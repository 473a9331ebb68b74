"""The only module that imports ccxt: exchanges whose requests go through our client, and their errors as ours."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from crypto_pipeline.venue_names import CCXT, refuse_unknown_venue
from crypto_pipeline.venues.ccxt.market_rows import UnreadableRow, without_unreadable_rows
from crypto_pipeline.venues.ccxt.package import exchange_class, streaming_class
from crypto_pipeline.venues.ccxt.parse import usable_markets
from crypto_pipeline.venues.client.responses import UNSTATED_PAUSE, HttpResponse, RateLimited
from crypto_pipeline.venues.decoding import UNREADABLE
from crypto_pipeline.venues.protocol import (
    MalformedAnswer,
    SpanRefused,
    UnknownSymbol,
    VenueError,
    VenueUnavailable,
    shorten,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of ccxt: its address, its weight in milliseconds of the exchange's rate limit, the body of a POST."""

    url: str
    weight: int
    content: bytes | None = None


#: Weight of the request that this task makes next.
_weight: ContextVar[int] = ContextVar("weight", default=1)


@dataclass(slots=True)
class _Reading:
    """The documents of one reading of the markets, by path and number of the request to it."""

    documents: dict[tuple[str, int], Any] = field(default_factory=dict)
    #: whether ``documents`` are given back, and nothing is sent
    given: bool = False
    #: whether a request failed
    failed: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    async def answer(self, send: Send, request: Sent) -> Any:
        """The document of a request. Raises VenueError."""
        path = urlsplit(request.url).path
        self.asked[path] += 1
        key = path, self.asked[path]
        if self.given:
            if key not in self.documents:
                raise MalformedAnswer(f"without some of its rows it asks for {shorten(request.url)}")
            return self.documents[key]
        try:
            self.documents[key] = document = await send(request)
        except BaseException:
            self.failed = True
            raise
        return document


#: The reading of the markets that this task is part of.
_reading: ContextVar[_Reading | None] = ContextVar("reading", default=None)

#: Makes a request and returns the decoded body.
Send = Callable[[Sent], Awaitable[Any]]


def make_exchange(name: str, send: Send) -> Any:
    """ccxt's exchange ``name``, whose requests are made by ``send``. Its own limiter never waits, spot markets alone
    are read, and it opens no connection of its own.

    Raises ValueError in one line with the fix where ccxt is not installed, has no such exchange, or no bars of it.
    """
    refuse_unknown_venue(f"{CCXT}{name}")
    kind = exchange_class(name)
    exchange = _routed(kind, send)({"options": {"defaultType": "spot"}})
    if exchange.has.get("fetchOHLCV") is not True:
        raise ValueError(f"ccxt reads no bars of {name}: choose another venue of `crypto-pipeline venues list`")
    kinds = exchange.options.get("fetchMarkets")
    if isinstance(kinds, dict) and isinstance(kinds.get("types"), list):
        kinds["types"] = ["spot"]
    elif isinstance(kinds, list):
        exchange.options["fetchMarkets"] = ["spot"]
    return exchange


def _routed(kind: Any, send: Send) -> Any:
    class Routed(kind):  # type: ignore[misc]
        """The exchange with ``send`` in the place of ccxt's connections."""

        async def load_markets(self, reload: bool = False, params: Any = None) -> Any:
            # ccxt's own keeps a task of the first caller, and asks for currencies, which some exchanges give by key
            if reload or not self.markets:
                for name, changed in (await _read_markets(self)).items():
                    setattr(self, name, changed)
            return self.markets

        async def throttle(self, cost: Any = None) -> None:
            # the place of ccxt's limiter: here the weight of the request is known, our budget is asked by ``send``
            _weight.set(max(1, math.ceil(float(1 if cost is None else cost) * float(self.rateLimit))))

        async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            if method not in ("GET", "POST"):
                raise VenueError(
                    f"{name_of(self)} gives {url} only for {method}, which is not sent here", permanent=True
                )
            content = None if method == "GET" else (body or "").encode()
            request, reading = Sent(url, _weight.get(), content), _reading.get()
            return await (send(request) if reading is None else reading.answer(send, request))

    return Routed


async def _read_markets(exchange: Any) -> dict[str, Any]:
    """What reading the markets changes in an exchange. A market that cannot be read is logged and left out.

    Raises VenueError where a request fails, or no market can be read.
    """
    whole = _Reading()
    rows: list[UnreadableRow] = []
    try:
        changed, unusable = await _read_once(exchange, whole)
    except VenueError:
        if whole.failed or not whole.documents:
            raise

        def part(documents: Sequence[Any]) -> _Reading:
            return _Reading(dict(zip(whole.documents, documents, strict=True)), given=True)

        async def count(documents: Sequence[Any]) -> int:
            return len((await _read_once(exchange, part(documents)))[0]["markets"])

        documents, rows = await without_unreadable_rows(list(whole.documents.values()), count)
        changed, unusable = await _read_once(exchange, part(documents))
    if not changed.get("markets"):
        raise MalformedAnswer(f"{name_of(exchange)} markets: ccxt cannot read the answer: no market is left of it")
    for each in [*rows, *unusable]:
        log.warning(
            "%s%s: a market cannot be read and is skipped: %s", CCXT, name_of(exchange),
            shorten(f"{each.why}: {each.row!r}"),
        )  # fmt: skip
    return changed


async def _read_once(exchange: Any, reading: _Reading) -> tuple[dict[str, Any], list[UnreadableRow]]:
    """The same, with the markets that were read and are unusable. Raises VenueError where any cannot be read."""
    copied = copy.copy(exchange)
    copied.options = copy.deepcopy(exchange.options)
    marker = _reading.set(reading)
    try:
        with as_venue_errors(exchange, "markets"):
            markets, unusable = usable_markets(await copied.fetch_markets({}))
            copied.set_markets(markets)
    finally:
        _reading.reset(marker)
    if "fetchMarkets" in copied.options:  # where some exchanges keep the answer for a second
        copied.options["fetchMarkets"] = copy.deepcopy(exchange.options.get("fetchMarkets"))
    before = vars(exchange)
    return {name: each for name, each in vars(copied).items() if each is not before.get(name)}, unusable


def make_streams(name: str, rest: Any, base_url: str | None, loop: asyncio.AbstractEventLoop) -> Any:
    """ccxt.pro's exchange ``name``, with the markets of ``rest``, which ``make_exchange`` made and which has them.

    It opens sockets itself, at ``base_url`` where one is given; requests go the way of those of ``rest``. It is used in
    the event loop ``loop``.
    """
    exchange = _with_requests_of(rest, streaming_class(name))({"options": {"defaultType": "spot"}})
    exchange.asyncio_loop = loop  # some need it before they open a socket
    exchange.set_markets(rest.markets)
    if base_url is not None:
        exchange.urls["api"]["ws"] = _moved(exchange.urls["api"]["ws"], base_url.replace("http", "ws", 1))
    return exchange


def _with_requests_of(rest: Any, kind: Any) -> Any:
    class Streams(kind):  # type: ignore[misc]
        """The exchange, whose requests ``rest`` makes."""

        async def load_markets(self, reload: bool = False, params: Any = None) -> Any:
            return self.markets

        async def throttle(self, cost: Any = None) -> None:
            await rest.throttle(cost)

        async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            return await rest.fetch(url, method, headers, body)

    return Streams


def _moved(addresses: Any, origin: str) -> Any:
    """The addresses, one or several by name, at another origin."""
    if isinstance(addresses, dict):
        return {name: _moved(each, origin) for name, each in addresses.items()}
    return origin.rstrip("/") + urlsplit(addresses).path if isinstance(addresses, str) else addresses


def heard_within(exchange: Any, seconds: float) -> bool:
    """Whether the newest message or pong of any socket of an exchange came within this time."""
    clients = (exchange.clients or {}).values()
    heard = max((max(one.lastPong or 0, one.last_message_at or 0) for one in clients), default=0)
    return bool(heard >= exchange.milliseconds() - 1000 * seconds)


def name_of(exchange: Any) -> str:
    """ccxt's name of an exchange."""
    return str(exchange.id)


def states_steps(exchange: Any) -> bool:
    """Whether the precision of its markets has steps of prices and amounts, not numbers of digits."""
    return bool(exchange.precisionMode == import_module("ccxt.base.decimal_to_precision").TICK_SIZE)


def decoded(exchange: Any, answer: HttpResponse) -> Any:
    """The body of an answer as ccxt's methods expect it. Raises MalformedAnswer for what is not JSON."""
    text = answer.body.decode("utf-8", errors="replace")
    document = _document(exchange, text)
    if document is None:
        raise MalformedAnswer(f"its body is not JSON: {shorten(text)!r}")
    return document


def stated_error(exchange: Any, answer: HttpResponse) -> VenueError | None:
    """The error that ccxt reads in an answer of any status; None where it reads none."""
    text = answer.body.decode("utf-8", errors="replace")
    document = _document(exchange, text)
    headers = dict(answer.headers)
    try:
        with as_venue_errors(exchange, answer.url):
            exchange.handle_errors(answer.status, "", answer.url, "GET", headers, text, document, {}, None)
    except VenueError as error:
        # What cannot be read is no statement of the exchange, nor is what a server that fails says without a reason.
        unread = isinstance(error, MalformedAnswer) and not isinstance(error, SpanRefused)
        vague = answer.status >= 500 and isinstance(error, SpanRefused)
        return None if unread or vague else error
    return None


def _document(exchange: Any, text: str) -> Any:
    """The document that a text is; None for one that is not JSON."""
    try:
        return exchange.parse_json(text)
    except UNREADABLE:
        return None


@contextmanager
def as_venue_errors(exchange: Any, where: str) -> Iterator[None]:
    """Turn ccxt's errors, and those of its code that reads a body, into a VenueError."""
    try:
        yield
    except VenueError:
        raise
    except UNREADABLE as error:
        raise MalformedAnswer(
            f"{name_of(exchange)} {where}: ccxt cannot read the answer: {type(error).__name__}: {error}"
        ) from error
    except Exception as error:
        translated = _translated(exchange, error)
        if translated is None:
            raise
        raise translated from error


def _translated(exchange: Any, error: Exception) -> VenueError | None:
    errors = import_module("ccxt.base.errors")
    if not isinstance(error, errors.BaseError):
        return None
    said = f"{name_of(exchange)}: {shorten(str(error)) or type(error).__name__}"
    if isinstance(error, errors.BadSymbol):
        return UnknownSymbol(said)
    if isinstance(error, errors.RateLimitExceeded | errors.DDoSProtection):
        return RateLimited(said, retry_after=UNSTATED_PAUSE[429])
    if isinstance(error, errors.NetworkError):  # not available, maintenance, no answer in time
        return VenueUnavailable(said)
    if isinstance(error, errors.BadResponse):
        return MalformedAnswer(said)
    if isinstance(error, errors.AuthenticationError | errors.NotSupported):
        return VenueError(said, permanent=True)
    return SpanRefused(said)  # of these parameters: another span may be answered
