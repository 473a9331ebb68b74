"""The outbox: messages are stored before they are sent, and it is known of each whether it arrived.

A message that is being sent is ``unknown`` until its end is known, with the end of the attempt as its next attempt: a
killed sender loses nothing, and what it leaves behind is asked for, or repeated with the remark that it may repeat.
Only psycopg is imported, because the notifier is a resident program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text

#: What a message is about. ``collected``: it carries several that were waiting.
MessageKind = Literal["alert", "recovery", "report", "test", "collected"]

#: Seconds until the next attempt after the first failure of a channel, and the longest such pause.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0

_PUT = """
INSERT INTO ops.outbox (kind, channel, body, key, state, created_at, sent_at, may_repeat)
VALUES (%(kind)s, %(channel)s, %(body)s, %(key)s, %(state)s, coalesce(%(created_at)s, clock_timestamp()),
        CASE WHEN %(state)s = 'sent' THEN coalesce(%(created_at)s, clock_timestamp()) END, %(may_repeat)s)
ON CONFLICT (channel, key) DO NOTHING RETURNING id
"""

# Holding the channel's row keeps two processes from using it at once.
_CHANNEL = """
INSERT INTO ops.notification_channels (name) VALUES (%(channel)s) ON CONFLICT (name) DO NOTHING
"""
_READY = """
SELECT next_at <= clock_timestamp() FROM ops.notification_channels WHERE name = %(channel)s FOR UPDATE SKIP LOCKED
"""

_WAITING = """
SELECT id, kind, channel, body, attempts, may_repeat OR state = 'unknown' AS may_repeat, plain, token::text, created_at
FROM ops.outbox
WHERE channel = %(channel)s AND state <> 'sent' AND folded_into IS NULL AND next_attempt <= clock_timestamp()
ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
"""

_ONE = (
    "SELECT id, kind, channel, body, attempts, may_repeat, plain, token::text, created_at FROM ops.outbox WHERE id = %s"
)

_CLAIM = """
UPDATE ops.outbox SET state = 'unknown', may_repeat = %(may_repeat)s, attempts = attempts + 1,
    next_attempt = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s
"""

_FOLD = "UPDATE ops.outbox SET folded_into = %s WHERE id = ANY(%s)"

_SENT = """
UPDATE ops.outbox SET state = 'sent', sent_at = clock_timestamp(), receipt = %(receipt)s, error = NULL
WHERE id = %(id)s OR folded_into = %(id)s
"""

_FAILED = """
UPDATE ops.outbox SET state = %(state)s, error = %(error)s, may_repeat = may_repeat OR %(state)s = 'unknown',
    plain = plain OR %(plain)s,
    next_attempt = clock_timestamp() + make_interval(secs => %(pause)s)
WHERE id = %(id)s
"""

_CHANNEL_WORKS = """
UPDATE ops.notification_channels SET next_at = clock_timestamp() + make_interval(secs => %(pause)s),
    last_sent = clock_timestamp(), failures = 0, failing_since = NULL, last_error = NULL
WHERE name = %(channel)s
"""

_CHANNEL_FAILS = """
UPDATE ops.notification_channels SET failures = failures + 1, last_error = %(error)s,
    failing_since = coalesce(failing_since, clock_timestamp()),
    next_at = clock_timestamp() + make_interval(secs =>
        coalesce(%(pause)s::float8, least(%(longest)s, %(first)s * 2 ^ least(failures, 20))))
WHERE name = %(channel)s
"""

_STATES = """
SELECT c.name, c.last_sent, c.failures, c.failing_since, c.last_error,
       count(o.id) AS waiting, count(o.id) FILTER (WHERE o.state = 'unknown') AS unknown, min(o.created_at) AS oldest
FROM ops.notification_channels c
LEFT JOIN ops.outbox o ON o.channel = c.name AND o.state <> 'sent' AND o.folded_into IS NULL
GROUP BY c.name ORDER BY c.name
"""

_NEXT = """
SELECT extract(epoch FROM greatest(min(o.next_attempt), min(c.next_at)) - clock_timestamp())::float8
FROM ops.outbox o LEFT JOIN ops.notification_channels c ON c.name = o.channel
WHERE o.channel = %s AND o.state <> 'sent' AND o.folded_into IS NULL
"""

_HOLD = "UPDATE ops.outbox SET next_attempt = clock_timestamp() + interval '1 hour' WHERE id = ANY(%s)"
_FORGET = "DELETE FROM ops.outbox WHERE id = %s"

_PRUNE = "DELETE FROM ops.outbox WHERE state = 'sent' AND created_at < %s"


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message that was claimed for sending.

    Attributes:
        attempts: That were made before this one.
        may_repeat: Whether an earlier attempt may have arrived.
        plain: Whether the channel refused the form of the message, so that only its text is sent.
        token: What the message is found by at the other end.
    """

    id: int
    kind: MessageKind
    channel: str
    body: dict[str, Any]
    attempts: int
    may_repeat: bool
    plain: bool
    token: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What is known of a channel; times in UTC. ``oldest`` is when the oldest waiting message was stored."""

    name: str
    last_sent: datetime | None
    failures: int
    failing_since: datetime | None
    last_error: str | None
    waiting: int
    unknown: int
    oldest: datetime | None


#: Makes one message body of several.
Collect = Callable[[Sequence[OutboxMessage]], Mapping[str, Any]]


class Outbox:
    """Reads and writes ``ops.outbox`` and ``ops.notification_channels``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @staticmethod
    def put(
        connection: psycopg.Connection[Any],
        kind: MessageKind,
        channels: Sequence[str],
        body: Mapping[str, Any],
        *,
        key: str | None = None,
        state: Literal["queued", "sent", "unknown"] = "queued",
        created_at: datetime | None = None,
    ) -> list[int]:
        """Store a message for each channel in the caller's transaction; return the ids of those that are new.

        ``state`` and ``created_at`` are given only for messages that were sent while the database was away.
        """
        ids = []
        for channel in channels:
            values: dict[str, Any] = {"kind": kind, "channel": channel, "body": json_text(body), "key": key}
            values |= {"state": state, "created_at": created_at, "may_repeat": state == "unknown"}
            ids += [row[0] for row in connection.execute(_PUT, values).fetchall()]
        return ids

    def add(
        self,
        kind: MessageKind,
        channels: Sequence[str],
        body: Mapping[str, Any],
        *,
        key: str | None = None,
        hold: bool = False,
    ) -> list[int]:
        """As ``put``, in a transaction of its own. ``hold``: only ``claim_one`` takes it within the next hour."""

        def work(connection: psycopg.Connection[Any]) -> list[int]:
            ids = self.put(connection, kind, channels, body, key=key)
            if hold:
                connection.execute(_HOLD, [ids])
            return ids

        return self._connections.run(work)

    def claim_one(self, channel: str, number: int, seconds: float) -> OutboxMessage | None:
        """As ``claim``, of the message with this id; None while the channel is in use or rests."""

        def work(connection: psycopg.Connection[Any]) -> OutboxMessage | None:
            if not _is_ready(connection, channel):
                return None
            with connection.cursor(row_factory=class_row(OutboxMessage)) as cursor:
                message = cursor.execute(_ONE, [number]).fetchall()[0]
            connection.execute(_CLAIM, {"id": number, "may_repeat": message.may_repeat, "seconds": seconds})
            return message

        return self._connections.run(work)

    def forget(self, number: int) -> None:
        """Delete a message that is not to be sent any more."""
        self._connections.run(lambda connection: connection.execute(_FORGET, [number]) and None)

    def claim(
        self, channel: str, seconds: float, *, collect: Collect | None = None, at_most: int = 5
    ) -> OutboxMessage | None:
        """The next message of a channel, marked as being sent for ``seconds``; None when none may be sent now.

        Where more than ``at_most`` wait that were never attempted, ``collect`` makes one message of them.
        """

        def work(connection: psycopg.Connection[Any]) -> OutboxMessage | None:
            values = {"channel": channel, "most": 1 if collect is None else 200}
            if not _is_ready(connection, channel):
                return None
            with connection.cursor(row_factory=class_row(OutboxMessage)) as cursor:
                waiting = cursor.execute(_WAITING, values).fetchall()
            if not waiting:
                return None
            message = waiting[0]
            fresh = [one for one in waiting if not one.may_repeat and one.kind in ("alert", "recovery")]
            if collect is not None and len(fresh) > at_most:
                message = _folded(connection, channel, fresh, collect)
            connection.execute(_CLAIM, {"id": message.id, "may_repeat": message.may_repeat, "seconds": seconds})
            return message

        return self._connections.run(work)

    def sent(self, message: OutboxMessage, receipt: str, pause: float = 1.0) -> None:
        """Note that the message arrived; the channel rests for ``pause`` seconds."""
        values = {"id": message.id, "receipt": receipt, "channel": message.channel, "pause": pause}
        self._connections.run(_execute, (_SENT, _CHANNEL_WORKS), values)

    def failed(
        self,
        message: OutboxMessage,
        error: str,
        *,
        unknown: bool,
        pause: float | None = None,
        message_at_fault: bool = False,
    ) -> None:
        """Note that an attempt failed, or, ``unknown``, that it may have arrived.

        ``pause`` is what the channel demanded, in seconds; without it pauses grow. Where the message itself was
        refused (``message_at_fault``), only the message waits, and the channel goes on with the next one.
        """
        own = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(message.attempts, 10)) if message_at_fault else 0.0
        values = {
            "id": message.id,
            "state": "unknown" if unknown else "queued",
            "error": error,
            "pause": own,
            "plain": message_at_fault,
        }
        gate = {
            "channel": message.channel,
            "error": error,
            "pause": 1.0 if message_at_fault else pause,
            "longest": LONGEST_PAUSE,
            "first": FIRST_PAUSE,
        }

        def work(connection: psycopg.Connection[Any]) -> None:
            connection.execute(_FAILED, values)
            connection.execute(_CHANNEL_FAILS, gate)

        self._connections.run(work)

    def next_in(self, channel: str) -> float | None:
        """Seconds until the next message of the channel may be sent, None when none waits."""
        rows = self._connections.run(lambda connection: connection.execute(_NEXT, [channel]).fetchall())
        seconds: float | None = rows[0][0]
        return seconds

    def channel_states(self) -> list[ChannelState]:
        """Every channel that was ever used, with its waiting messages."""

        def read(connection: psycopg.Connection[Any]) -> list[ChannelState]:
            with connection.cursor(row_factory=class_row(ChannelState)) as cursor:
                return cursor.execute(_STATES).fetchall()

        return self._connections.run(read)

    def keep_channels(self, names: Sequence[str]) -> None:
        """Forget all other channels, which are no longer in the settings. Their messages stay, and are not sent."""
        statement = "DELETE FROM ops.notification_channels WHERE name <> ALL(%s)"
        self._connections.run(lambda connection: connection.execute(statement, [list(names)]) and None)

    def prune(self, before: datetime) -> int:
        """Delete sent messages that were stored before then; return how many."""
        return self._connections.run(lambda connection: connection.execute(_PRUNE, [before]).rowcount)


def _is_ready(connection: psycopg.Connection[Any], channel: str) -> bool:
    """Whether the channel may be used now; until the transaction ends no other process uses it."""
    connection.execute(_CHANNEL, {"channel": channel})
    ready = connection.execute(_READY, {"channel": channel}).fetchone()
    return ready is not None and bool(ready[0])


def _folded(
    connection: psycopg.Connection[Any], channel: str, waiting: Sequence[OutboxMessage], collect: Collect
) -> OutboxMessage:
    """Store one message in the place of several, which share its fate from now on."""
    body = dict(collect(waiting))
    (new,) = Outbox.put(connection, "collected", [channel], body)
    connection.execute(_FOLD, [new, [one.id for one in waiting]])
    with connection.cursor(row_factory=class_row(OutboxMessage)) as cursor:
        return cursor.execute(_ONE, [new]).fetchall()[0]


def _execute(connection: psycopg.Connection[Any], statements: Sequence[str], values: Mapping[str, Any]) -> None:
    for statement in statements:
        connection.execute(statement, values)
