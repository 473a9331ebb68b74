"""Alerts about the database, kept in a file while the database cannot be written.

Every line is an event; it is on the disk before the message is sent. Once the database can be written again, the alert
and what is known of its messages are stored there, and the file is emptied.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg

from crypto_pipeline.store.operations.notifications.alerts import AlertRecord, AlertRecords
from crypto_pipeline.store.operations.notifications.outbox import Outbox, OutboxMessage

#: What is known of the message on one channel.
Sending = Literal["queued", "sent", "unknown"]


@dataclass(slots=True)
class JournalAlert:
    """An alert that could not be stored yet; times in UTC.

    Attributes:
        id: By which its lines in the file belong together; the token of its messages too.
        body: Of its message, once it was announced.
        channels: What is known of the message by channel.
    """

    id: str
    source: str
    summary: str
    opened_at: datetime
    closed_at: datetime | None = None
    announced_at: datetime | None = None
    body: dict[str, Any] = field(default_factory=dict)
    channels: dict[str, Sending] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)

    def record(self, first_look: datetime) -> AlertRecord:
        """The alert in the form in which the database has alerts."""
        return AlertRecord(
            0, self.source, "", "critical", self.summary, {"journal": self.id}, self.opened_at, self.closed_at,
            first_look, self.announced_at, 0, None, None, None, self.announced_at, None, {},
        )  # fmt: skip

    def message(self, channel: str) -> OutboxMessage:
        """The message for a channel, as the outbox would have it."""
        again = self.channels[channel] == "unknown"
        attempts = self.attempts.get(channel, 0)
        return OutboxMessage(0, "alert", channel, self.body, attempts, again, False, self.id, self.opened_at)


class AlertJournal:
    """The file of one data directory, with what it says kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.alerts: list[JournalAlert] = []
        for line in path.read_text("utf-8").splitlines() if path.exists() else []:
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError):
                continue  # the last line of a process that was killed while it wrote

    def open(self, source: str, summary: str, now: datetime) -> JournalAlert:
        """The open alert of ``source``, a new one if there is none; other open alerts are closed."""
        for one in self.alerts:
            if one.closed_at is None and one.source != source:
                self._write({"event": "closed", "id": one.id, "at": now.isoformat()})
        current = next((one for one in self.alerts if one.closed_at is None), None)
        if current is None:
            made = {"id": str(uuid.uuid4()), "source": source, "summary": summary, "at": now.isoformat()}
            self._write({"event": "opened", **made})
            current = self.alerts[-1]
        return current

    def announce(self, alert: JournalAlert, body: Mapping[str, Any], channels: list[str], now: datetime) -> None:
        """Note the message that is sent to these channels."""
        announced = {"event": "announced", "id": alert.id, "at": now.isoformat(), "body": dict(body)}
        self._write({**announced, "channels": channels})

    def sending(self, alert: JournalAlert, channel: str) -> None:
        """Note that an attempt begins: until its end is noted it is not known whether the message arrived."""
        self._write({"event": "channel", "id": alert.id, "channel": channel, "state": "unknown"})

    def ended(self, alert: JournalAlert, channel: str, state: Sending) -> None:
        """Note how an attempt ended."""
        self._write({"event": "channel", "id": alert.id, "channel": channel, "state": state})

    def store(self, connection: psycopg.Connection[Any], now: datetime) -> None:
        """Store all alerts, which are over at ``now``, in the caller's transaction. Repeating it changes nothing."""
        for one in self.alerts:
            AlertRecords.add_past(
                connection, source=one.source, severity="critical", summary=one.summary, detail={"journal": one.id},
                opened_at=one.opened_at, resolved_at=one.closed_at or now, announced_at=one.announced_at,
            )  # fmt: skip
            for channel, state in one.channels.items():
                key = f"journal:{one.id}"
                Outbox.put(connection, "alert", [channel], one.body, key=key, state=state, created_at=one.announced_at)

    def clear(self) -> None:
        """Empty the file: everything in it is stored."""
        self._path.unlink(missing_ok=True)
        self.alerts = []

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps(event) + "\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        if event["event"] == "opened":
            at = datetime.fromisoformat(event["at"])
            self.alerts.append(JournalAlert(event["id"], event["source"], event["summary"], at))
            return
        alert = next(one for one in self.alerts if one.id == event["id"])
        match event["event"]:
            case "closed":
                alert.closed_at = datetime.fromisoformat(event["at"])
            case "announced":
                alert.announced_at = datetime.fromisoformat(event["at"])
                alert.body = event["body"]
                alert.channels = dict.fromkeys(event["channels"], "queued")
            case "channel":
                alert.channels[event["channel"]] = event["state"]
                if event["state"] == "unknown":
                    alert.attempts[event["channel"]] = alert.attempts.get(event["channel"], 0) + 1


def utc_now() -> datetime:
    """The time of this machine, used while the database's cannot be asked."""
    return datetime.now(UTC)
