"""Announces that the database is away or cannot be written: by the journal, without the outbox."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from crypto_pipeline.ops.alerting.alert_messages import Sender, alert_message
from crypto_pipeline.ops.alerting.channels.result import DeliveryChannel, DeliveryResult
from crypto_pipeline.ops.alerting.journal import AlertJournal, JournalAlert, utc_now
from crypto_pipeline.ops.alerting.policy import AlertRules

log = logging.getLogger(__name__)

#: Pause after an attempt that failed, in seconds; twice as long after each further one, up to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0


class LocalAlerts:
    """What a notifier does while it cannot write to the database."""

    def __init__(
        self,
        journal: AlertJournal,
        channels: Sequence[DeliveryChannel],
        sender: Sender,
        rules: AlertRules,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.journal = journal
        self._channels = list(channels)
        self._sender, self._rules, self._clock = sender, rules, clock
        self._not_before: dict[str, float] = {}

    def look(self, source: str, summary: str) -> None:
        """Note one look at which the database could not be used, and send what is due."""
        now = self._clock()
        alert = self.journal.open(source, summary, now)
        if alert.announced_at is None and now - alert.opened_at >= self._rules.between_looks:
            self._announce(alert, now)
        for one in self.journal.alerts:
            if one.announced_at is not None:
                self._send(one, now)

    def _announce(self, alert: JournalAlert, now: datetime) -> None:
        earlier = [one.announced_at for one in self.journal.alerts if one.source == alert.source and one.announced_at]
        if any(now - at < self._rules.quiet for at in earlier) or not self._channels:
            return
        body = alert_message([alert.record(alert.opened_at)], now, self._sender).body()
        self.journal.announce(alert, body, [one.name for one in self._channels], now)

    def _send(self, alert: JournalAlert, now: datetime) -> None:
        for channel in self._channels:
            state = alert.channels.get(channel.name)
            if state in (None, "sent") or now.timestamp() < self._not_before.get(channel.name, 0.0):
                continue
            message = alert.message(channel.name)
            self.journal.sending(alert, channel.name)
            earlier = channel.find(message) if message.may_repeat else None
            result = earlier if earlier is not None and earlier.state != "refused" else channel.send(message)
            self._end(alert, channel.name, result, now)

    def _end(self, alert: JournalAlert, channel: str, result: DeliveryResult, now: datetime) -> None:
        if result.state == "sent":
            self.journal.ended(alert, channel, "sent")
            self._not_before[channel] = now.timestamp() + 1.0
            return
        log.warning("%s: the message about the database is %s: %s", channel, result.state, result.detail)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(alert.attempts.get(channel, 0), 10))
        self._not_before[channel] = now.timestamp() + (pause if result.pause is None else result.pause)
        # What may have arrived once stays so, whatever a later attempt says.
        if result.state == "refused" and alert.attempts.get(channel, 0) <= 1:
            self.journal.ended(alert, channel, "queued")
