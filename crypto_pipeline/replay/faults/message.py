"""Applies faults to single messages of one connection."""

from __future__ import annotations

import heapq
import re
import time
from itertools import count

from crypto_pipeline.replay.faults.book import Entry, FaultBook
from crypto_pipeline.replay.faults.spoiling import spoil_message
from crypto_pipeline.replay.faults.stream import (
    MessageFault,
    WsBadIds,
    WsBadRows,
    WsClockSkew,
    WsDelay,
    WsDrop,
    WsDuplicate,
    WsMalformed,
    WsReorder,
)
from crypto_pipeline.replay.wire.connection import Subscriber
from crypto_pipeline.replay.wire.frames import FrameBatch, text_frame

_ID = re.compile(r'"([at])":(\d+)')
_TIMES = re.compile(r'"([ET])":(\d+)')


class MessageFaults:
    """Sends messages to connections: a batch at once, or one by one if a fault may apply."""

    def __init__(self, book: FaultBook) -> None:
        self.book = book
        self._late: list[tuple[float, int, Subscriber, bytes]] = []
        self._order = count()
        #: Delayed messages of a reordering, by connection and stream: number of messages that precede, and the frames.
        self._held: dict[tuple[int, str], list[list[int | bytes]]] = {}

    def deliver(self, batch: FrameBatch, connections: list[Subscriber]) -> None:
        """Send the batch to all connections."""
        entries = self._entries(batch)
        for connection in connections:
            if connection.mute_until and connection.is_mute(batch.symbol, time.monotonic()):
                continue
            if not entries and not self._held:
                connection.take(batch)
                continue
            for body in batch.bodies:
                self._one(entries, batch, body, connection)

    def _entries(self, batch: FrameBatch) -> list[Entry]:
        if not self.book.any:
            return []
        active = self.book.active((MessageFault,))
        return [entry for entry in active if _concerns(entry.fault, batch)]

    def _one(self, entries: list[Entry], batch: FrameBatch, body: str, connection: Subscriber) -> None:
        spoiled: bytes | None = None
        times, wait, overtaken = 1, 0.0, 0
        for entry in entries:
            if not self.book.draw(entry):
                continue
            fault = entry.fault
            if isinstance(fault, WsDrop):
                return
            if isinstance(fault, WsDuplicate):
                times += fault.copies
            elif isinstance(fault, WsDelay):
                wait = max(wait, fault.seconds)
            elif isinstance(fault, WsReorder):
                overtaken = max(overtaken, fault.by)
            elif isinstance(fault, WsBadIds):
                body = _ID.sub(lambda found, fault=fault: _wrong_id(fault, found), body, count=1)  # type: ignore[misc]
            elif isinstance(fault, WsBadRows):
                body = spoil_message(fault, body)
            elif isinstance(fault, WsClockSkew):
                body = _skewed(fault, body)
            elif isinstance(fault, WsMalformed):
                spoiled = _malformed(fault, batch.payload(body, connection.combined))
        frame = (spoiled or text_frame(batch.payload(body, connection.combined))) * times
        if wait:
            heapq.heappush(self._late, (time.monotonic() + wait, next(self._order), connection, frame))
        elif overtaken:
            self._held.setdefault((connection.number, batch.stream), []).append([overtaken, frame])
        else:
            connection.take_frame(frame)
            if self._held:
                self._overtake(connection, batch.stream)

    def _overtake(self, connection: Subscriber, stream: str) -> None:
        held = self._held.pop((connection.number, stream), [])
        waiting = []
        for left, frame in held:
            assert isinstance(left, int)
            assert isinstance(frame, bytes)
            if left > 1:
                waiting.append([left - 1, frame])
            else:
                connection.take_frame(frame)
        if waiting:
            self._held[connection.number, stream] = waiting  # type: ignore[assignment]

    def release(self, now: float) -> None:
        """Send the delayed messages that are due."""
        while self._late and self._late[0][0] <= now:
            _, _, connection, frame = heapq.heappop(self._late)
            if not connection.gone:
                connection.take_frame(frame)

    def forget(self, connection: Subscriber) -> None:
        """Remove an ended connection and its delayed messages."""
        for key in [key for key in self._held if key[0] == connection.number]:
            del self._held[key]


def _concerns(fault: object, batch: FrameBatch) -> bool:
    assert isinstance(fault, MessageFault)
    if fault.symbol is not None and batch.symbol not in fault.symbol:
        return False
    return fault.stream is None or batch.kind in fault.stream


def _wrong_id(fault: WsBadIds, found: re.Match[str]) -> str:
    right = int(found[2])
    wrong = {"shift": right + fault.shift, "repeat": right - 1, "zero": 0}[fault.manner]
    return f'"{found[1]}":{wrong}'


def _skewed(fault: WsClockSkew, body: str) -> str:
    # In a kline, T is the bar's last millisecond and not a reading of a clock.
    head, bar, rest = body.partition('"k":{')
    head = _TIMES.sub(
        lambda found: f'"{found[1]}":{int(found[2]) + fault.milliseconds}' if found[1] in fault.fields else found[0],
        head,
    )
    return head + bar + rest


def _malformed(fault: WsMalformed, payload: bytes) -> bytes:
    if fault.manner == "half":
        return text_frame(payload[: len(payload) // 2])
    if fault.manner == "body":
        return text_frame(fault.body.encode())
    return b"\x82" + text_frame(bytes(byte ^ 0xFF for byte in payload[:100]))[1:]
