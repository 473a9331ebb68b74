"""What a channel says of a message, and what a channel is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from crypto_pipeline.ops.alerting.messages import MAY_REPEAT, Announcement, small_print
from crypto_pipeline.store.operations.notifications.outbox import OutboxMessage

#: What goes to a channel.
Purpose = Literal["alerts", "reports", "both"]
#: Seconds within which an attempt of a channel ends; then another process may try.
LONGEST_SEND = 60.0


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The end of one attempt.

    Attributes:
        state: sent, refused (it did not arrive), or unknown.
        detail: The receipt of a sent message, else what went wrong. Never a secret.
        pause: Seconds that the channel demands before the next message; None: it demands none.
        message_at_fault: Whether the channel refused this message and would take others.
    """

    state: Literal["sent", "refused", "unknown"]
    detail: str
    pause: float | None = None
    message_at_fault: bool = False


class DeliveryChannel(Protocol):
    """One way to people. Its methods block, for less than ``LONGEST_SEND`` seconds, and do not raise."""

    @property
    def name(self) -> str:
        """Its name in the outbox and for people."""

    @property
    def purpose(self) -> Purpose:
        """What goes there."""

    def send(self, message: OutboxMessage) -> DeliveryResult:
        """Send one message."""

    def find(self, message: OutboxMessage) -> DeliveryResult | None:
        """Ask whether a message arrived at an earlier attempt: sent, refused (it did not), or unknown.

        None: this channel cannot be asked.
        """


def outgoing(message: OutboxMessage, *, marked: bool) -> Announcement:
    """The message as it is sent; ``marked``: with the remark that it may repeat an earlier copy."""
    stored = Announcement.from_body(message.body)
    if not marked:
        return stored
    return Announcement(
        stored.title,
        f"({MAY_REPEAT})\n{stored.text}",
        stored.severity,
        [*stored.blocks[:1], small_print(MAY_REPEAT), *stored.blocks[1:49]],
        stored.files,
    )


def recent(at: datetime) -> float:
    """Unix seconds a little before ``at``: clocks of others differ."""
    return at.timestamp() - 300.0
