"""A venue on a real socket that answers truthfully in its wire format unless the script says otherwise."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from aiohttp import web

from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import BudgetLimit, MemoryBudget, RequestPolicy, Venue, venue_entry
from crypto_pipeline.venues.registry import ClientOptions
from crypto_pipeline_tests.builders.scripted_binance import Handler, ScriptedVenue
from crypto_pipeline_tests.venues.contract.market import Market, Pair

#: Retries soon; no answer of these tests takes long.
HASTY = RequestPolicy(
    timeout=5, attempts=4, concurrency=4, wait_initial=0.005, wait_max=0.02, wait_jitter=0.005, breaker_threshold=5,
    breaker_recovery=0.1,
)  # fmt: skip


class Unlimited(MemoryBudget):
    """A budget that only holds the pauses that a venue demands."""

    async def limit(self, limit: BudgetLimit) -> None:
        await super().limit(BudgetLimit(10_000_000, limit.window))


class Wire(ABC):
    """The wire format of one venue over a market: the part of the contract that each venue has for itself."""

    #: Name of the venue.
    name: str
    #: Rows that the venue gives on one page of minutes.
    page: ClassVar[int]
    #: Whether a minute without trades has a flat bar.
    flat: ClassVar[bool] = False
    #: Milliseconds to which times of its trades are cut.
    trade_step: ClassVar[int] = 1

    def __init__(self, market: Market) -> None:
        self.market = market
        for pair in market.pairs.values():
            pair.symbol = self.symbol(pair.base)

    @abstractmethod
    def settings(self, url: str) -> Settings:
        """Settings with which the venue's client asks this server."""

    @abstractmethod
    def symbol(self, base: str) -> str:
        """The venue's name of the pair with this base asset, as its listings and plans have it."""

    @abstractmethod
    def kind(self, request: web.Request) -> str:
        """``bars``, ``trades``, ``time``, ``listings`` or ``other``."""

    @abstractmethod
    def answer(self, request: web.Request) -> web.StreamResponse:
        """The true answer."""

    def client(self, url: str, budget: MemoryBudget | None = None) -> Venue:
        """The venue's client as the registry makes it, without a limit and with short pauses."""
        options = ClientOptions(self.settings(url), budget or Unlimited(), HASTY)
        return venue_entry(self.name).rest(options)

    def asked(self, name: str) -> Pair | None:
        """The pair that a request names; symbols of requests may be written otherwise than those of listings."""
        return self.market.of_symbol(name)


class ScriptedServer(ScriptedVenue):
    """Serves a wire. ``fail(kind, …)`` queues answers that are given before the true ones."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        #: Kind and ``time.monotonic`` of each request.
        self.log: list[tuple[str, float]] = []

    def fail(self, kind: str, *handlers: Handler) -> None:
        self.script(f" {kind}", *handlers)

    def drop(self, kind: str) -> None:
        """Forget what is queued."""
        self._scripts[f" {kind}"].clear()

    def asked(self, kind: str) -> list[float]:
        return [at for each, at in self.log if each == kind]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        kind = self.wire.kind(request)
        self.log.append((kind, time.monotonic()))
        self.requests.append((request.path, dict(request.query)))
        queue = self._scripts[f" {kind}"]
        return await queue.popleft()(request) if queue else self.wire.answer(request)


@asynccontextmanager
async def serving(wire: Wire) -> AsyncIterator[tuple[ScriptedServer, Venue]]:
    """The server of a wire, and the client that asks it."""
    async with ScriptedServer(wire) as server:
        venue = wire.client(server.url)
        try:
            yield server, venue
        finally:
            await venue.close()


def json_answer(document: Any, status: int = 200, **headers: str) -> web.Response:
    """A JSON body. The header Date has the machine's time, as aiohttp sets it, unless one is given."""
    return web.json_response(document, status=status, headers=headers)


def told(document: Any, status: int = 200) -> Handler:
    """A handler that answers so."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return json_answer(document, status)

    return handler


async def endless(request: web.Request) -> web.StreamResponse:
    """A body that grows until the client goes away."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    piece = b"[" + b" " * 1_048_576
    try:
        for _ in range(256):
            await response.write(piece)
    except (ConnectionError, RuntimeError):
        pass
    return response


def refused(status: int, wait: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A refusal for too many requests, with the seconds to wait."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="{}", content_type="application/json", headers={"Retry-After": wait})

    return handler
