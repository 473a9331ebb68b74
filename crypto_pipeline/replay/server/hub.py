"""The scheduler of all stream connections: it plays the market's tape to subscribers at the clock's speed."""

from __future__ import annotations

import asyncio
import logging
import time

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.faults.book import FaultBook
from crypto_pipeline.replay.faults.connection import LineFaults
from crypto_pipeline.replay.faults.message import MessageFaults
from crypto_pipeline.replay.market.live_tape import NEVER, MinuteBars, TradeCursor
from crypto_pipeline.replay.market.symbols import SymbolInfo
from crypto_pipeline.replay.market.tape import Tape
from crypto_pipeline.replay.wire.connection import Subscriber
from crypto_pipeline.replay.wire.frames import FrameBatch, StreamKind, TradeRow, aggregate_trades, single_trades

log = logging.getLogger(__name__)
_KINDS: tuple[StreamKind, ...] = ("aggTrade", "trade", "kline_1m")
#: Least and greatest number of real seconds between two cycles; a change of the clock takes effect within the latter.
_SHORTEST, _LONGEST = 0.005, 0.05
#: Greatest number of trades of one symbol in one cycle: on an overloaded machine only trades are delayed.
_MOST_ROWS = 1024
#: Real seconds after which a cycle ends, so that other tasks can run.
_TURN = 0.1
#: The next chunk of the tape is made this long before it is played: venue ms, and real seconds at high speed.
_AHEAD_MS, _AHEAD_SECONDS = 60_000, 4.0
#: After a jump of the clock up to this, the skipped time is played; after a larger jump, streams continue at the new
#: time.
_JUMP_MS = 6 * 3_600_000


class _Channel:
    """One symbol with subscribers."""

    def __init__(self, market: Tape, info: SymbolInfo, now_ms: int) -> None:
        self.market, self.info = market, info
        self.trades = TradeCursor(market, info.symbol, now_ms)
        self.bars: MinuteBars | None = None
        self.listeners: dict[StreamKind, list[Subscriber]] = {kind: [] for kind in _KINDS}

    def name(self, kind: StreamKind) -> str:
        return f"{self.info.symbol.lower()}@{kind}"

    @property
    def next_ms(self) -> int:
        return min(self.trades.next_ms, self.bars.next_ms if self.bars else NEVER)

    def batches(self, now_ms: int) -> list[FrameBatch]:
        """The messages that are due for the subscribers."""
        rows = self.trades.advance(now_ms, _MOST_ROWS)
        made: list[tuple[StreamKind, list[str]]] = []
        if rows:
            made += self._trade_messages(rows)
        if self.bars:
            self.bars.count(rows)
            # If trades are late, bars are late too: a bar must not close before its last trade is counted.
            made.append(("kline_1m", self.bars.messages(min(now_ms, self.trades.next_ms - 1))))
        return [FrameBatch(self.name(kind), self.info.symbol, kind, bodies) for kind, bodies in made if bodies]

    def _trade_messages(self, rows: list[TradeRow]) -> list[tuple[StreamKind, list[str]]]:
        made: list[tuple[StreamKind, list[str]]] = []
        if self.listeners["aggTrade"]:
            made.append(("aggTrade", aggregate_trades(self.info.symbol, rows)))
        if self.listeners["trade"]:
            made.append(("trade", single_trades(self.info.symbol, rows, self.info.step_decimals)))
        return made


class StreamHub:
    """All stream connections of one exchange."""

    def __init__(self, market: Tape, clock: VirtualClock, faults: FaultBook) -> None:
        self.market, self.clock = market, clock
        self.messages, self.lines = MessageFaults(faults), LineFaults(faults, clock)
        self.connections: dict[int, Subscriber] = {}
        self._channels: dict[str, _Channel] = {}
        self._played_ms = clock.now_ms()
        self._turn = self._next_made = 0
        self._someone = asyncio.Event()

    # Subscriptions ------------------------------------------------------------------------------------------------

    def join(self, connection: Subscriber) -> None:
        """Add a connection."""
        self.connections[connection.number] = connection
        self._someone.set()

    def part(self, connection: Subscriber) -> None:
        """Remove an ended connection."""
        for stream in list(connection.streams):
            self.unsubscribe(connection, stream)
        self.connections.pop(connection.number, None)
        self.messages.forget(connection)
        self.lines.forget(connection)

    def subscribe(self, connection: Subscriber, stream: str) -> bool:
        """Subscribe from now on. An unknown stream is accepted without ever sending, as on the real venue."""
        known = stream in connection.streams
        if not connection.listen(stream):
            return False
        found = self._parse(stream)
        if found is None or known:
            return True
        info, kind = found
        now = self.clock.now_ms()
        channel = self._channels.get(info.symbol)
        if channel is None:
            channel = self._channels[info.symbol] = _Channel(self.market, info, now)
        else:
            # Earlier subscribers get all past messages first, because a new one gets none of them.
            self._play(channel, now)
        if kind == "kline_1m" and channel.bars is None:
            channel.bars = MinuteBars(self.market, info, min(now, channel.trades.next_ms - 1))
        channel.listeners[kind].append(connection)
        return True

    def unsubscribe(self, connection: Subscriber, stream: str) -> None:
        """End a subscription."""
        if stream not in connection.streams:
            return
        connection.leave(stream)
        found = self._parse(stream)
        channel = self._channels.get(found[0].symbol) if found else None
        if found is None or channel is None:
            return
        channel.listeners[found[1]].remove(connection)
        if not channel.listeners["kline_1m"]:
            channel.bars = None
        if not any(channel.listeners.values()):
            del self._channels[found[0].symbol]

    def _parse(self, stream: str) -> tuple[SymbolInfo, StreamKind] | None:
        symbol, _, kind = stream.partition("@")
        info = self.market.symbol(symbol.upper()) if symbol == symbol.lower() else None
        for known in _KINDS:
            if kind == known and info is not None:
                return info, known
        return None

    # Playing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Play until cancelled."""
        while True:
            if not self.connections:
                self._someone.clear()
                await self._someone.wait()
            started = time.monotonic()
            self.play()
            connections = list(self.connections.values())
            self.lines.strike(connections, started)
            for connection in connections:
                connection.check(started)
            prepared = self._prepare()
            spent = time.monotonic() - started
            await asyncio.sleep(0 if prepared or spent > _TURN else max(_SHORTEST, self._pause() - spent))

    def play(self) -> None:
        """Send everything that is due at the clock's time."""
        now = self.clock.now_ms()
        if now < self._played_ms or now - self._played_ms > _JUMP_MS:
            self._restart(now)
        self._played_ms = now
        began = time.monotonic()
        channels = list(self._channels.values())
        for place in range(len(channels)):
            channel = channels[(place + self._turn) % len(channels)]
            if channel.next_ms <= now:
                self._play(channel, now)
                if time.monotonic() - began > _TURN:
                    self._turn += place + 1  # the next cycle begins with the other symbols
                    break
        real = time.monotonic()
        self.messages.release(real)
        for connection in list(self.connections.values()):
            connection.flush(real)

    def _play(self, channel: _Channel, now_ms: int) -> None:
        for batch in channel.batches(now_ms):
            listeners = channel.listeners[batch.kind]
            self.messages.deliver(batch, listeners)

    def _restart(self, now_ms: int) -> None:
        """Continue at the clock's new time."""
        for channel in self._channels.values():
            channel.trades = TradeCursor(self.market, channel.info.symbol, now_ms)
            if channel.bars is not None:
                channel.bars = MinuteBars(self.market, channel.info, now_ms)

    def _pause(self) -> float:
        """Real seconds until something is due."""
        due = min((channel.next_ms for channel in self._channels.values()), default=NEVER)
        speed = self.clock.speed
        if due == NEVER or not speed:
            return _LONGEST
        return min(_LONGEST, (due - self.clock.now_ms()) / 1000 / speed)

    def _prepare(self) -> bool:
        """Make one chunk that is needed soon, so that streams do not pause at midnight."""
        channels = list(self._channels.values())
        if not channels:
            return False
        self._next_made = (self._next_made + 1) % len(channels)
        horizon = max(_AHEAD_MS, int(_AHEAD_SECONDS * 1000 * self.clock.speed))
        return channels[self._next_made].trades.prepare(self._played_ms, horizon)
