"""Takes messages of one channel from the outbox and sends them, one at a time, at most one a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import psycopg

from crypto_pipeline.ops.alerting.alert_messages import collected_message
from crypto_pipeline.ops.alerting.channels.result import LONGEST_SEND, DeliveryChannel, DeliveryResult
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.operations.notifications.outbox import Outbox, OutboxMessage

log = logging.getLogger(__name__)

#: Seconds between two messages of one channel, and between two looks at an outbox in which nothing is due.
RATE, IDLE = 1.0, 15.0
#: Alerts that wait for one channel, more of which are sent as one message.
AT_MOST = 5


def collect(messages: Sequence[OutboxMessage]) -> dict[str, object]:
    """One message body of several."""
    return collected_message([one.body for one in messages]).body()


class Delivery:
    """Sends the messages of one channel. ``rate`` and ``claim_seconds`` are in seconds."""

    def __init__(
        self, outbox: Outbox, channel: DeliveryChannel, *, rate: float = RATE, claim_seconds: float = LONGEST_SEND
    ) -> None:
        self._outbox, self._channel = outbox, channel
        self._rate, self._claim_seconds = rate, claim_seconds
        #: What is known of the last message but not stored yet, because the database went away.
        self._to_store: Callable[[], None] | None = None

    def send_next(self) -> bool:
        """Send one message; False when none may be sent now. Raises StoreError while the database is away."""
        self._store()
        message = self._outbox.claim(self._channel.name, self._claim_seconds, collect=collect, at_most=AT_MOST)
        if message is None:
            return False
        result = self._attempt(message)
        self._to_store = self._ending(message, result)
        self._store()
        return True

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Send until ``stop``; ``wake`` says that there is something new."""
        while not stop.is_set():
            wake.clear()
            try:
                pause = 0.0 if self.send_next() else self._until_next()
            except (StoreError, psycopg.Error) as error:
                log.warning(
                    "%s: messages wait, because the database is away (%s)", self._channel.name, type(error).__name__
                )
                pause = IDLE
            if pause > 0:
                wake.wait(pause)

    def _attempt(self, message: OutboxMessage) -> DeliveryResult:
        if message.may_repeat and (earlier := self._channel.find(message)) is not None and earlier.state != "refused":
            return earlier
        return self._channel.send(message)

    def _ending(self, message: OutboxMessage, result: DeliveryResult) -> Callable[[], None]:
        name = self._channel.name
        if result.state == "sent":
            log.info("%s: message %d (%s) was sent", name, message.id, message.kind)
            return lambda: self._outbox.sent(message, result.detail, self._rate)
        log.warning("%s: message %d (%s) is %s: %s", name, message.id, message.kind, result.state, result.detail)
        return lambda: self._outbox.failed(
            message,
            result.detail,
            unknown=result.state == "unknown",
            pause=result.pause,
            message_at_fault=result.message_at_fault,
        )

    def _store(self) -> None:
        if self._to_store is not None:
            self._to_store()
            self._to_store = None

    def _until_next(self) -> float:
        seconds = self._outbox.next_in(self._channel.name)
        return IDLE if seconds is None else min(IDLE, max(0.05, seconds))
