"""Last prices and forming bars, as ingest writes them several times a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from crypto_pipeline.api.stream.channel import Channel, Update
from crypto_pipeline.api.stream.sources.rows import FormingBar, PriceRow
from crypto_pipeline.api.stream.sources.source import ChannelSource, named
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.trades.live_prices import CHANNEL

if TYPE_CHECKING:
    from crypto_pipeline.store import LivePrice


class PriceChannels(ChannelSource):
    """Reads ``market.live_prices``: of all channels with one statement."""

    kinds = ("prices", "forming")
    notices = (CHANNEL,)

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def read(self, channels: Sequence[Channel], payloads: set[str | None]) -> Iterable[Update]:
        """As in ChannelSource."""
        names = named(payloads)
        for channel in channels:
            if channel.loaded or names is None:
                continue
            if channel.name.instrument is None:
                names = None
            else:
                names.add(channel.name.instrument)
        timeframes = {channel.name.timeframe or Timeframe.M1 for channel in channels}
        rows = self._store.live.told(names, timeframes)
        found = {(row.instrument, row.timeframe): row for row in rows}
        for channel in channels:
            name = channel.name
            if name.instrument is None:
                prices = [_price(row) for row in rows if row.timeframe is Timeframe.M1]
                yield Update(name.text, prices, whole=not channel.loaded or names is None)
            else:
                assert name.timeframe is not None
                row = found.get((name.instrument, name.timeframe))
                if row is not None or not channel.loaded:
                    yield Update(name.text, [] if row is None else [_forming(row)], whole=not channel.loaded)


def _price(row: LivePrice) -> PriceRow:
    return PriceRow(row.instrument, row.last_price, row.last_ms or row.open_ms, row.last_id, row.source)


def _forming(row: LivePrice) -> FormingBar:
    return FormingBar(
        row.open_ms, row.open, row.high, row.low, row.close, row.volume, row.trade_count, row.last_price, row.last_ms
    )
