"""Forecasts, each as soon as it is published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from crypto_pipeline.api.stream.channel import Channel, Update
from crypto_pipeline.api.stream.sources.rows import StreamedForecast, StreamedStep
from crypto_pipeline.api.stream.sources.source import ChannelSource, named
from crypto_pipeline.forecasts.answer import PRICE_NAMES, Forecast
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.stored.anchors import anchored
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import Store


class ForecastChannels(ChannelSource):
    """Reads the newest forecasts of instruments."""

    kinds = ("forecasts",)
    notices = ("forecasts_changed",)
    pause = 1.0

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def read(self, channels: Sequence[Channel], payloads: set[str | None]) -> Iterable[Update]:
        """As in ChannelSource."""
        names = named(payloads)
        due = {
            str(channel.name.instrument): channel
            for channel in channels
            if not channel.loaded or names is None or channel.name.instrument in names
        }
        if not due:
            return
        rows: dict[str, list[StreamedForecast]] = defaultdict(list)
        for (name, _), found in anchored(self._store, list(due), list(ForecastHorizon)).items():
            rows[name].append(_row(found.forecast))
        for name, channel in due.items():
            yield Update(channel.name.text, rows[name], whole=True)


def _row(one: Forecast) -> StreamedForecast:
    steps = [StreamedStep(unix_ms(step["target"]), *(step[name] for name in PRICE_NAMES)) for step in one.rows()]
    return StreamedForecast(
        one.horizon, unix_ms(one.moment), one.model, one.direction, one.price, unix_ms(one.anchored_at), steps
    )
