"""The streams of an exchange that ccxt.pro has: its 1m candles, if it has any, and trades, out of ccxt's own sockets.

ccxt reads the exchange's frames. Its ids of trades need not rise by one, and its candles carry no word that they are
over, so ingest treats what comes as provisional until REST has stated it. Without candles, ingest makes minutes of the
trades.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from crypto_pipeline.market.sanity import bar_fault
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venue_names import streams_of_ccxt
from crypto_pipeline.venues.ccxt import library, parse
from crypto_pipeline.venues.ccxt.rest import CcxtRest
from crypto_pipeline.venues.client.http import RequestPolicy
from crypto_pipeline.venues.decoding import UNREADABLE
from crypto_pipeline.venues.protocol import (
    RejectedRow,
    RequestBudget,
    SpanRefused,
    VenueError,
    VenueUnavailable,
    shorten,
)
from crypto_pipeline.venues.stream_protocol import (
    Alive,
    Anchor,
    Event,
    LastingRefusal,
    LiveBar,
    Notice,
    StreamClosed,
    StreamPlan,
    StreamRefused,
    StreamTraits,
    spread_evenly,
)

#: Seconds without a message or pong after which a connection counts as broken. ccxt sends a ping every few seconds.
_SILENCE = 60.0
#: Instruments of one connection: exchanges allow from 30 to some hundred subscriptions.
_MOST = 50
#: Some exchanges send hours of candles after a subscription; REST states those.
_RECENT = 5 * Timeframe.M1.milliseconds
#: Lists of events that wait to be read; more hold the polling back.
_WAITING = 1000
_MINUTE = Timeframe.M1.milliseconds


class CcxtStream:
    """Client of the streams of one exchange of ccxt; see StreamingVenue. ``exchange`` is ccxt's name of it.

    The hosts of its sockets are ccxt's own, or that of ``base_url``. ``budget`` is for requests of markets and of the
    sockets' address. Raises ValueError without ccxt.
    """

    def __init__(
        self,
        exchange: str,
        base_url: str | None = None,
        budget: RequestBudget | None = None,
        *,
        name: str | None = None,
        policy: RequestPolicy | None = None,
    ) -> None:
        self.name = name or f"ccxt_{exchange}"
        self.stream_traits = StreamTraits(
            contiguous_ids=False,
            states_bars="watchOHLCV" in streams_of_ccxt(exchange),
            silence_limit_s=_SILENCE,
            max_per_connection=_MOST,
            quiet_limit_s=900.0,  # on a small exchange nothing may be traded for minutes
        )
        self._exchange, self._base_url = exchange, base_url
        self._rest = CcxtRest(exchange, base_url, budget, name=self.name, policy=policy)

    def spread(self, plan: StreamPlan) -> list[StreamPlan]:
        """Cut a plan into one plan per connection."""
        return spread_evenly(plan, self.stream_traits.max_per_connection)

    async def connect(self, plan: StreamPlan) -> CcxtConnection:
        """Learn the exchange's markets, and make a connection that subscribes when it is read. Raises StreamRefused."""
        try:
            await self._rest.learn_markets([symbol for _, symbol in plan.instruments])
        except VenueError as error:
            raise StreamRefused(f"{self.name}: the markets are not known: {error}", _pause(error)) from error
        arguments = self._exchange, self._rest.exchange, self._base_url, asyncio.get_running_loop()
        exchange = await asyncio.to_thread(library.make_streams, *arguments)
        return CcxtConnection(self.name, exchange, plan)

    async def close(self) -> None:
        """Close the connections of REST; those of the streams close themselves."""
        await self._rest.close()


class CcxtConnection:
    """The subscriptions of one plan; see StreamConnection. ``exchange`` is ccxt's object, and is closed with it."""

    def __init__(self, name: str, exchange: Any, plan: StreamPlan) -> None:
        self.name, self.exchange, self._plan = name, exchange, plan
        self.counters = dict.fromkeys(("frames", "trades", "bars", "unknown", "malformed", "fields"), 0)
        self._arrived: asyncio.Queue[list[Event] | Exception | None] = asyncio.Queue(_WAITING)
        self._tasks: list[asyncio.Task[None]] = []
        #: the newest candle of each instrument, which is not over yet
        self._forming: dict[str, list[float]] = {}
        #: instruments of which trades may be missing until now, where bars are made of them
        self._unproven = set() if plan.bars else {name for name, _ in plan.instruments}

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """One list of events per answer of ccxt; see StreamConnection.events."""
        for name, symbol in self._plan.instruments:
            if self._plan.bars:
                self._watch(name, symbol, partial(self.exchange.watch_ohlcv, symbol, "1m"), self._bars)
            if self._plan.trades:
                self._watch(name, symbol, partial(self.exchange.watch_trades, symbol), self._trades)
        try:
            while True:
                try:
                    came = await asyncio.wait_for(self._arrived.get(), _SILENCE / 4)
                except TimeoutError:
                    if library.heard_within(self.exchange, _SILENCE):
                        yield [Alive()]
                    continue
                if came is None:
                    return
                if isinstance(came, Exception):
                    raise came
                yield came
        finally:
            await self.close()

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            await exchange.close()
        with contextlib.suppress(asyncio.QueueFull):
            self._arrived.put_nowait(None)

    def _watch(
        self,
        name: str,
        symbol: str,
        ask: Callable[[], Awaitable[list[Any]]],
        read: Callable[[str, list[Any]], list[Event]],
    ) -> None:
        self._tasks.append(asyncio.create_task(self._report_faults(self._poll(name, symbol, ask, read))))

    async def _report_faults(self, poll: Coroutine[Any, Any, None]) -> None:
        """A fault of this program ends the connection: else one subscription would end unnoticed."""
        try:
            await poll
        except Exception as error:
            await self._arrived.put(error)

    async def _poll(
        self,
        name: str,
        symbol: str,
        ask: Callable[[], Awaitable[list[Any]]],
        read: Callable[[str, list[Any]], list[Event]],
    ) -> None:
        """Take what ccxt has until the socket ends. A subscription that is refused for good costs only itself."""
        exchange = self.exchange
        while True:
            try:
                with library.as_venue_errors(exchange, f"stream of {symbol}"):
                    rows = await ask()
            except VenueError as error:
                # before anything came from the socket it is the way to the socket that failed
                opened = not isinstance(error, SpanRefused) or library.heard_within(exchange, _SILENCE)
                if error.permanent and opened:
                    await self._refused(name, error)
                else:
                    await self._arrived.put(StreamClosed(f"{self.name}: {error}", _pause(error)))
                return
            self.counters["frames"] += 1
            if events := read(name, rows):
                await self._arrived.put(events)

    async def _refused(self, name: str, error: VenueError) -> None:
        await self._arrived.put([Notice("refused", shorten(str(error)), name)])
        if sum(not task.done() for task in self._tasks) <= 1:
            await self._arrived.put(LastingRefusal(f"{self.name} refuses all subscriptions, the last one: {error}"))

    # -- what came ------------------------------------------------------------------------------------------------

    def _bars(self, name: str, rows: list[Any]) -> list[Event]:
        """The candles that are over: those after which a later one began, and corrections of such."""
        events: list[Event] = []
        newest = max((row[0] for row in rows if parse.is_row(row)), default=0)
        for row in _by_time(rows):
            if why := _bar_fault(row):
                events.append(self._malformed(name, row, why, str(Timeframe.M1)))
                continue
            if row[0] < newest - _RECENT:
                continue
            before = self._forming.get(name)
            if before is not None and before[0] > row[0]:
                events.append(self._bar(name, row))
                continue
            if before is not None and before[0] < row[0]:
                events.append(self._bar(name, before))
            self._forming[name] = row
        return events

    def _bar(self, name: str, row: list[float]) -> LiveBar:
        self.counters["bars"] += 1
        values = (float(row[1]), float(row[2]), float(row[3]), float(row[4]), float(row[5]))
        opened = int(row[0])
        return LiveBar(name, str(Timeframe.M1), opened, *values, None, None, None, None, None, True, opened + _MINUTE)

    def _trades(self, name: str, rows: list[Any]) -> list[Event]:
        """Trades, after an anchor where earlier ones may be missing: at first, and after one that cannot be read."""
        events: list[Event] = []
        for place, row in enumerate(rows):
            try:
                trade = parse.read_trade(_with_id(row, place))
            except UNREADABLE as error:
                events.append(self._malformed(name, row, shorten(str(error)), ""))
                if not self._plan.bars:
                    self._unproven.add(name)
                continue
            if name in self._unproven:
                self._unproven.remove(name)
                events.append(Anchor(name, None, trade.ms))
            number = parse.stable_number(trade)
            self.counters["trades"] += 1
            events.append(
                LiveTrade(name, number, number, number, trade.ms, trade.price, trade.quantity, trade.taker_buy)
            )
        return events

    def _malformed(self, name: str, row: Any, why: str, timeframe: str) -> Notice:
        self.counters["malformed"] += 1
        said = shorten(repr(row))
        time = row[0] if timeframe and parse.is_row(row) else None
        return Notice("unknown", f"malformed ({why}): {said}", name, RejectedRow(time, why, said), timeframe, False)


def _pause(error: VenueError) -> float | None:
    """Seconds after which the venue may be asked again, where it says so."""
    return error.retry_after if isinstance(error, VenueUnavailable) else None


def _with_id(row: dict[str, Any], place: int) -> dict[str, Any]:
    """A trade with an id: made from what it is, and its place among those that came with it, where it has none."""
    if row.get("id") is not None:
        return row
    return {**row, "id": "/".join(str(row.get(field)) for field in ("timestamp", "price", "amount")) + f"/{place}"}


def _by_time(rows: Iterable[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: row[0] if parse.is_row(row) else 0)


def _bar_fault(row: Any) -> str | None:
    """Why a candle cannot be a minute, or None."""
    if not parse.is_row(row) or row[0] % _MINUTE:
        return "it has no time of a minute"
    if any(not isinstance(value, int | float) for value in row[1:6]):
        return "a value is not a number"
    o, h, l, c, v = (float(value) for value in row[1:6])  # noqa: E741
    return bar_fault(o, h, l, c, v)
