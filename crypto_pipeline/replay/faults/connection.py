"""Applies faults to whole stream connections."""

from __future__ import annotations

import json
import socket
import time

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.faults.book import Call, Entry, FaultBook
from crypto_pipeline.replay.faults.stream import LineFault, WsCut, WsFreeze, WsMaintenance, WsRefuse, WsSlowConsumer
from crypto_pipeline.replay.wire.connection import Subscriber
from crypto_pipeline.replay.wire.frames import wrapped

TOO_MANY = "Maximum number of connections exceeded. You have reached the connection limit for your account."
_REASON = "maximum number of connections"
_POLICY_VIOLATION, _GOING_AWAY = 1008, 1001
_SMALL_BUFFER = 32_768


class LineFaults:
    """Applies the active faults to all connections, once in each cycle of the scheduler."""

    def __init__(self, book: FaultBook, clock: VirtualClock) -> None:
        self.book, self.clock = book, clock
        self.down_until = 0.0
        self._closing: list[tuple[float, float, Subscriber]] = []
        self._struck: dict[tuple[int, int], float] = {}

    # Opening ------------------------------------------------------------------------------------------------------

    def admit(self, address: str, connections: list[Subscriber]) -> WsRefuse | None:
        """The fault that refuses a new connection, or None. A fault may close older connections instead."""
        same = [connection for connection in connections if connection.address == address and not connection.gone]
        fault = self.book.strikes(WsRefuse, Call("stream"), lambda fault: len(same) >= fault.connections)
        if fault is None or fault.manner != "evict":
            return fault
        for connection in same[: len(same) - fault.connections + 1]:
            self.refuse(connection)
        return None

    def refuse(self, connection: Subscriber) -> None:
        """Close the connection with the venue's reason."""
        connection.say(json.dumps({"code": _POLICY_VIOLATION, "msg": TOO_MANY}, separators=(",", ":")))
        connection.close(_POLICY_VIOLATION, _REASON)

    # Open connections ---------------------------------------------------------------------------------------------

    def strike(self, connections: list[Subscriber], now: float) -> None:
        """Apply the active faults."""
        self._finish(now)
        if not self.book.any:
            self._struck.clear()
            return
        for entry in self.book.active((LineFault,)):
            for connection in connections:
                if not connection.gone and _listens(entry.fault, connection) and self._draw(entry, connection, now):
                    self._do(entry, connection, now)

    def _draw(self, entry: Entry, connection: Subscriber, now: float) -> bool:
        fault = entry.fault
        if isinstance(fault, WsSlowConsumer):
            _shrink(connection)
            return connection.buffered > fault.bytes and self.book.draw(entry)
        key = fault.id, connection.number
        if now < self._struck.get(key, 0.0):
            return False
        self._struck[key] = now + 1.0
        if not self.book.draw(entry):
            return False
        # A certain fault applies to a connection once; one with a probability may apply again after it has ended.
        self._struck[key] = float("inf") if fault.probability == 1 else now + getattr(fault, "seconds", 1.0)
        return True

    def _do(self, entry: Entry, connection: Subscriber, now: float) -> None:
        fault = entry.fault
        if isinstance(fault, WsSlowConsumer):
            connection.cut()
        elif isinstance(fault, WsCut):
            _cut(fault, connection)
        elif isinstance(fault, WsFreeze):
            if fault.symbol is None:
                connection.frozen_until = now + fault.seconds
            else:
                connection.mute_until.update(dict.fromkeys(fault.symbol, now + fault.seconds))
        elif isinstance(fault, WsMaintenance):
            body = json.dumps({"e": "serverShutdown", "E": self.clock.now_ms()}, separators=(",", ":"))
            connection.say(wrapped("!serverShutdown", body) if connection.combined else body)
            connection.flush(now)
            self._closing.append((now + fault.closes_after, fault.down_seconds, connection))

    def forget(self, connection: Subscriber) -> None:
        """Remove an ended connection."""
        for key in [key for key in self._struck if key[1] == connection.number]:
            del self._struck[key]

    def _finish(self, now: float) -> None:
        """Close connections whose end was announced."""
        for due, down, connection in [one for one in self._closing if one[0] <= now]:
            connection.close(_GOING_AWAY, "server shutdown")
            self.down_until = max(self.down_until, time.monotonic() + down if down else 0.0)
            self._closing.remove((due, down, connection))


def _listens(fault: object, connection: Subscriber) -> bool:
    assert isinstance(fault, LineFault)
    return fault.symbol is None or not connection.symbols.isdisjoint(fault.symbol)


def _cut(fault: WsCut, connection: Subscriber) -> None:
    if fault.manner == "close":
        connection.close(_GOING_AWAY, "")
        return
    if fault.manner == "half":
        connection.transport.write(b"\x81\x7e\x00\xff" + b'{"stream":"')
        connection.dropped.set()
        connection.transport.close()
        return
    connection.cut()


def _shrink(connection: Subscriber) -> None:
    """Make the send buffer small: otherwise the kernel would buffer megabytes and hide a slow reader."""
    if not connection.shrunk:
        connection.shrunk = True
        wire: socket.socket | None = connection.transport.get_extra_info("socket")
        if wire is not None:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
