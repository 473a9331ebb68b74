"""Charts of forecasts as PNG bytes: one with its bands after the closes before it, and coverage by horizon and step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from crypto_pipeline.ops.charts.bars import figure, png

_INK, _LINE, _WIDE, _NARROW = "#30363d", "#1f5fa8", "#d6e6f7", "#9cc3ea"
_COLOURS = {"coverage_80": "#1a7f5a", "coverage_95": "#1f5fa8"}
_PROMISED = {"coverage_80": 0.80, "coverage_95": 0.95}


def fan(times: Sequence[datetime], closes: Sequence[float], rows: Sequence[dict[str, Any]], title: str) -> bytes:
    """Draw closes (UTC times), and after them median, 80 % and 95 % interval of each step; PNG bytes.

    ``rows``: ``target`` and the prices ``low_95``, ``low_80``, ``median``, ``high_80``, ``high_95`` of each step; the
    bands begin at the last close.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    drawn, axes = figure(8.0, 3.2, margins=(0.8, 0.25, 0.3, 0.4))
    axes.plot(times, closes, color=_INK, linewidth=1.0)
    ahead = [times[-1], *(row["target"] for row in rows)]
    bands = {name: [closes[-1], *(row[name] for row in rows)] for name in rows[0] if name.startswith(("low", "high"))}
    axes.fill_between(ahead, bands["low_95"], bands["high_95"], color=_WIDE, linewidth=0, label="95 %")
    axes.fill_between(ahead, bands["low_80"], bands["high_80"], color=_NARROW, linewidth=0, label="80 %")
    axes.plot(ahead, [closes[-1], *(row["median"] for row in rows)], color=_LINE, linewidth=1.2, label="median")
    axes.axvline(times[-1], color=_INK, linewidth=0.6, linestyle="dotted")
    locator = AutoDateLocator(maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    axes.tick_params(labelsize=7)
    axes.margins(x=0.01)
    axes.legend(fontsize=7, loc="upper left", frameon=False, ncols=3)
    axes.set_title(f"{title} (UTC)", fontsize=9, color=_INK)
    return png(drawn)


def coverage(accuracy: pl.DataFrame, title: str) -> bytes:
    """Draw the share of targets that each interval held, by horizon and step; PNG bytes.

    ``accuracy`` has ``horizon``, ``step``, ``forecasts``, ``coverage_80`` and ``coverage_95``.
    """
    horizons = accuracy["horizon"].unique(maintain_order=True).to_list() or ["no scores"]
    drawn, axes = figure(6.0, 0.6 + 1.9 * len(horizons), rows=len(horizons))
    for place, horizon in enumerate(horizons):
        one = axes[place] if len(horizons) > 1 else axes
        rows = accuracy.filter(pl.col("horizon") == horizon)
        for name, colour in _COLOURS.items():
            one.axhline(_PROMISED[name], color=colour, linewidth=0.8, linestyle="dashed")
            one.plot(rows["step"].to_list(), rows[name].to_list(), color=colour, marker="o", markersize=3, linewidth=1)
        one.set_ylim(0.5, 1.01)
        one.tick_params(labelsize=7)
        one.xaxis.get_major_locator().set_params(integer=True)
        counted = max(rows["forecasts"].to_list(), default=0)
        one.set_title(f"{horizon}: {counted:,} forecasts", fontsize=8, color=_INK)
    one.set_xlabel("step", fontsize=7)
    drawn.suptitle(f"{title}: dashed what is promised, 80 % and 95 %", fontsize=9, color=_INK)
    return png(drawn)
