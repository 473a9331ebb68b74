"""Charts of scans as PNG bytes: setups and near misses by day, and which conditions are in the way."""

from __future__ import annotations

from typing import Any

import polars as pl

from crypto_pipeline.ops.charts.bars import figure, png

_INK, _TAKE, _NEAR, _WAY = "#30363d", "#1a7f5a", "#e0a63a", "#9aa4af"
_MOST_DAYS = 90


def scans(days: pl.DataFrame, in_the_way: pl.DataFrame, title: str) -> bytes:
    """Draw a row per strategy: setups and near misses of each day, and how often each condition was not met.

    ``days`` has ``strategy``, ``day`` (UTC), ``takes`` and ``near_misses``; ``in_the_way`` has ``strategy``,
    ``condition``, ``share`` (of the scans, 0 to 1, in which it was not met) and ``alone`` (in which only it was not).
    Returns PNG bytes.
    """
    names = days["strategy"].unique().sort().to_list() or ["no scans"]
    drawn, _ = figure(10.0, 0.7 + 1.9 * len(names))
    drawn.clear()
    drawn.suptitle(title, fontsize=9, color=_INK)
    drawn.set_layout_engine("constrained")
    axes: Any = drawn.subplots(len(names), 2, squeeze=False, gridspec_kw={"width_ratios": (3, 2)})
    for (left, right), name in zip(axes, names, strict=True):
        _by_day(left, days.filter(pl.col("strategy") == name).sort("day").tail(_MOST_DAYS), name)
        _conditions(right, in_the_way.filter(pl.col("strategy") == name))
    return png(drawn)


def _by_day(axes: Any, rows: pl.DataFrame, name: str) -> None:
    days = rows["day"].to_list()
    axes.bar(days, rows["near_misses"].to_list(), color=_NEAR, width=0.9, label="near misses")
    axes.bar(days, rows["takes"].to_list(), color=_TAKE, width=0.5, label="setups")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_title(name, fontsize=8, color=_INK, loc="left")
    axes.legend(fontsize=6, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)
    axes.tick_params(labelsize=6)
    axes.tick_params(axis="x", rotation=20)


def _conditions(axes: Any, rows: pl.DataFrame) -> None:
    shown = rows.sort("share").select("condition", "share", "alone")
    places = range(shown.height)
    axes.barh(places, [100 * share for share in shown["share"]], color=_WAY, label="not met")
    axes.barh(places, [100 * share for share in shown["alone"]], color=_NEAR, height=0.4, label="alone not met")
    axes.set_yticks(places, shown["condition"].to_list(), fontsize=6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of scans", fontsize=6)
    axes.legend(fontsize=6, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)
    axes.tick_params(labelsize=6)
