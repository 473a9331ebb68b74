"""Open alerts, and those that ended lately."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from crypto_pipeline.api.stream.channel import Channel, Update
from crypto_pipeline.api.stream.sources.rows import AlertRow
from crypto_pipeline.api.stream.sources.source import ChannelSource
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.notifications.alerts import AlertRecord, AlertRecords

#: Seconds for which an alert that ended is still read; longer, where nothing could be read meanwhile.
_LATELY = 600.0


class AlertChannels(ChannelSource):
    """Reads open alerts."""

    kinds = ("alerts",)
    notices = ("alerts_changed",)
    pause = 0.5

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._alerts = AlertRecords(store.connections)
        self._read_at = time.monotonic()

    def read(self, channels: Sequence[Channel], payloads: set[str | None]) -> Iterable[Update]:
        """As in ChannelSource."""
        begun = time.monotonic()
        found = self._alerts.open_or_ended(timedelta(seconds=_LATELY + begun - self._read_at))
        self._read_at = begun
        for channel in channels:
            # what ended before somebody looked is no news
            rows = [_row(one) for one in found if one.resolved_at is None or one.id in channel.rows]
            yield Update(channel.name.text, rows, whole=True)


def _row(one: AlertRecord) -> AlertRow:
    return AlertRow(
        one.id, one.source, one.timeframe, one.severity, one.summary, unix_ms(one.opened_at), _ms(one.resolved_at),
        _ms(one.acknowledged_at), one.acknowledged_by, _ms(one.muted_until),
    )  # fmt: skip


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else unix_ms(moment)
