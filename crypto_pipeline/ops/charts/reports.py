"""Charts of reports: how many bars came in each hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from crypto_pipeline.ops.charts.bars import figure, png

_BAR, _NONE, _INK = "#2f6f9f", "#c0392b", "#30363d"
_HOUR = timedelta(hours=1)


def bars_per_hour_chart(counts: Sequence[tuple[datetime, int]], start: datetime, end: datetime) -> bytes:
    """Draw the number of 1m bars of each hour in [start, end), UTC; an hour without any is marked. PNG bytes."""
    known = dict(counts)
    first = start.replace(minute=0, second=0, microsecond=0)
    hours = [first + number * _HOUR for number in range(int((end - first) / _HOUR) + 1) if first + number * _HOUR < end]
    values = [known.get(hour, 0) for hour in hours]
    drawn, draw = figure(7.5, 2.2)
    places = range(len(hours))
    draw.bar(places, values, color=_BAR, width=0.85)
    most = max(values, default=0) or 1
    empty = [place for place, value in zip(places, values, strict=True) if value == 0]
    draw.bar(empty, [most] * len(empty), color=_NONE, alpha=0.25, width=0.85)
    step = max(1, len(hours) // 12)
    draw.set_xticks(list(places)[::step], [f"{hour:%H:%M}" for hour in hours[::step]], fontsize=7)
    draw.tick_params(axis="y", labelsize=7)
    title = f"1m bars by hour, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; hours without any are red"
    draw.set_title(title, fontsize=8, color=_INK)
    draw.spines[["top", "right"]].set_visible(False)
    return png(drawn)
