"""Massive's websockets over a tape: keys, one connection to a key and market, minutes, seconds and trades as they end.

The rule for a further connection is the newer one's refusal; with ``evicts`` the older one is dropped instead, as was
seen of the service as well.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import WSMsgType, web

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.tape import StockTape

NEW_YORK = ZoneInfo("America/New_York")
STREAM_PATHS = ("/stocks", "/crypto")
#: A minute is held back for a moment, for late trades. Milliseconds of the exchange.
_HELD_BACK = {"minute": 2_000, "second": 200, "trade": 0}
#: What the channels of each market have.
_CHANNELS = {
    "stocks": {"AM": "minute", "A": "second", "T": "trade"},
    "crypto": {"XA": "minute", "XAS": "second", "XT": "trade"},
}
#: Real seconds between two looks for what is due.
_STEP = 0.05
_TOO_MANY = (
    "Maximum number of websocket connections exceeded. You have reached the connection limit for your account. "
    "Please contact support at https://massive.com/contact to increase your limit."
)

Event = tuple[int, dict[str, Any]]


@dataclass(eq=False)
class _Line:
    """One connection that showed its key."""

    key: str
    plan: Plan
    market: str
    socket: web.WebSocketResponse
    #: channel and ticker; the ticker * means all
    topics: set[tuple[str, str]] = field(default_factory=set)
    #: exchange time up to which everything was sent, Unix ms
    sent_ms: int = 0


class MassiveStreams:
    """The websocket endpoints. ``most`` says how many connections a key had to a market at once, at most."""

    def __init__(
        self, clock: VirtualClock, tape_of: Callable[[str], StockTape], plan_of: Callable[[str], Plan | None]
    ) -> None:
        self._clock, self._tape_of, self._plan_of = clock, tape_of, plan_of
        self.lines: list[_Line] = []
        self.most: Counter[tuple[str, str]] = Counter()
        #: how many connections showed their key, were refused, and were dropped for a newer one
        self.counts: Counter[str] = Counter()
        self.evicts = False
        self._day = lru_cache(maxsize=500)(self._events)

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to an application."""
        return [web.get(path, self.serve) for path in STREAM_PATHS]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, until either side ends it."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        await _say(socket, "connected", "Connected Successfully")
        line: _Line | None = None
        playing: asyncio.Task[None] | None = None
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                said = json.loads(message.data)
                if said.get("action") == "auth":
                    line = await self._admit(socket, request.path.strip("/"), str(said.get("params", "")))
                    if line is None:
                        break
                elif line is None:
                    await _say(socket, "auth_timeout", "no authentication received")
                    break
                elif said.get("action") in ("subscribe", "unsubscribe"):
                    await self._subscribe(line, said["action"], str(said.get("params", "")))
                    playing = playing or asyncio.create_task(self._play(line))
        finally:
            if playing is not None:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            if line in self.lines:
                self.lines.remove(line)
            await socket.close()
        return socket

    async def drop(self, key: str) -> None:
        """End the connections of a key, as a failing network does."""
        for line in [each for each in self.lines if each.key == key]:
            await line.socket.close()

    async def _admit(self, socket: web.WebSocketResponse, market: str, key: str) -> _Line | None:
        plan = self._plan_of(key)
        if plan is None or plan.expired:
            self.counts["refused"] += 1
            await _say(socket, "auth_failed", "authentication failed")
            return None
        mine = [each for each in self.lines if (each.key, each.market) == (key, market)]
        if len(mine) >= plan.connections:
            self.counts["refused" if not self.evicts else "evicted"] += 1
            await _say(mine[0].socket if self.evicts else socket, "max_connections", _TOO_MANY)
            if not self.evicts:
                return None
            self.lines.remove(mine[0])
            await mine[0].socket.close()
        line = _Line(key, plan, market, socket)
        self.lines.append(line)
        self.counts["admitted"] += 1
        count = sum((each.key, each.market) == (key, market) for each in self.lines)
        self.most[key, market] = max(self.most[key, market], count)
        await _say(socket, "auth_success", "authenticated")
        return line

    async def _subscribe(self, line: _Line, action: str, params: str) -> None:
        for topic in filter(None, params.split(",")):
            channel, _, ticker = topic.partition(".")
            if not line.plan.streams:
                await _say(line.socket, "error", "not authorized")
                continue
            if channel not in _CHANNELS[line.market]:
                await _say(line.socket, "error", f"invalid topic {topic}")
                continue
            (line.topics.add if action == "subscribe" else line.topics.discard)((channel, ticker))
            await _say(line.socket, "success", f"{action}d to: {topic}")

    async def _play(self, line: _Line) -> None:
        """Send what is due, until cancelled."""
        late = line.plan.delay // timedelta(milliseconds=1)
        line.sent_ms = self._clock.now_ms() - late
        while not line.socket.closed:
            until = self._clock.now_ms() - late
            rows = await asyncio.to_thread(self._due, line.market, set(line.topics), line.sent_ms, until)
            line.sent_ms = until
            if rows:
                try:
                    await line.socket.send_str(json.dumps(rows))
                except ConnectionError:
                    return
            await asyncio.sleep(_STEP)

    def _due(self, market: str, topics: set[tuple[str, str]], after: int, until: int) -> list[dict[str, Any]]:
        """The messages of these topics that are due in ``(after, until]``, in order."""
        found: list[Event] = []
        days = {_day(ms) for ms in (after - max(_HELD_BACK.values()), until)}
        for stock, channel, ticker in self._topics(market, topics, _day(until)):
            for day in sorted(days):
                events = self._day(market, stock, channel, ticker, day)
                begin, end = (bisect_right(events, ms, key=lambda event: event[0]) for ms in (after, until))
                found += events[begin:end]
        return [message for _, message in sorted(found, key=lambda event: event[0])]

    def _topics(self, market: str, topics: set[tuple[str, str]], day: date) -> Iterator[tuple[str, str, str]]:
        """(stock, channel, ticker) of each topic; * is every ticker of the day."""
        for stock in self._tape_of(market).stocks():
            held = stock.ticker_on(day)
            ticker = held if market == "stocks" else f"{stock.name}-USD"
            for channel in _CHANNELS[market]:
                if (channel, ticker) in topics or (channel, "*") in topics:
                    yield stock.ticker, channel, ticker

    def _events(self, market: str, stock: str, channel: str, ticker: str, day: date) -> list[Event]:
        """All messages of a channel on a day, by the exchange time at which they are due."""
        tape, kind = self._tape_of(market), _CHANNELS[market][channel]
        head = {"ev": channel, ("sym" if market == "stocks" else "pair"): ticker}
        if kind == "minute":
            return [
                (row["t"] + 60_000 + _HELD_BACK[kind], {**head, **_bar(row), "e": row["t"] + 60_000})
                for row in tape.minutes(stock, day, day).to_dicts()
            ]
        if kind == "trade":
            trades = tape.trades(stock, day, day).to_dicts()
            return [(row["ns"] // 1_000_000, {**head, **_trade(row, place)}) for place, row in enumerate(trades)]
        return [
            (row["t"] + 1_000 + _HELD_BACK[kind], {**head, **_bar(row), "e": row["t"] + 1_000})
            for row in tape.seconds(stock, day, day).to_dicts()
        ]


def _trade(row: dict[str, Any], place: int) -> dict[str, Any]:
    return {
        "x": row["exchange"], "i": str(place), "z": 3, "p": row["price"], "s": row["size"], "c": row["conditions"],
        "t": row["ns"] // 1_000_000, "q": place,
    }  # fmt: skip


def _bar(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in "ohlcv"} | {"s": row["t"], "z": 100, "vw": row["c"], "a": row["c"]}


def _day(ms: int) -> date:
    return datetime.fromtimestamp(ms / 1000, NEW_YORK).date()


async def _say(socket: web.WebSocketResponse, status: str, message: str) -> None:
    await socket.send_str(json.dumps([{"ev": "status", "status": status, "message": message}]))
