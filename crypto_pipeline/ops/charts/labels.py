"""Charts of labels as PNG bytes: outcomes by month, and one setup on its candles."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from crypto_pipeline.ops.charts.bars import draw_candles, figure, png

_COLOURS = {"TP": "#1a7f5a", "TIME": "#c9a227", "SL": "#c0392b"}
_INK = "#30363d"
_ENTRY = "#1f5fa8"
_MOST_BARS = 400


def outcomes(labels: pl.DataFrame, title: str) -> bytes:
    """Draw outcomes by month, one row per tier: setups that ended at take profit, time limit and stop, and the mean.

    ``labels`` has ``signal_ts`` (UTC), ``tier``, ``outcome`` and ``net_return`` (fraction). Returns PNG bytes.
    """
    months = labels.with_columns(pl.col("signal_ts").dt.strftime("%Y-%m").alias("month"))
    names = months["month"].unique().sort().to_list()
    tiers = [tier for tier in ("large", "mid", "meme") if tier in set(months["tier"])] or ["no labels"]
    counts = dict(months.group_by("tier", "month", "outcome").len().select(_key(), "len").iter_rows())
    means = dict(
        months.group_by("tier", "month").agg(pl.col("net_return").mean()).select(_key(2), "net_return").iter_rows()
    )
    drawn, axes = figure(min(12.0, 3.0 + 0.6 * max(len(names), 3)), 0.8 + 1.5 * len(tiers), rows=len(tiers))
    for row, tier in zip(axes if len(tiers) > 1 else [axes], tiers, strict=True):
        base = [0] * len(names)
        for outcome, colour in _COLOURS.items():
            heights = [counts.get(f"{tier} {month} {outcome}", 0) for month in names]
            row.bar(range(len(names)), heights, bottom=base, color=colour, width=0.7, label=outcome)
            base = [below + height for below, height in zip(base, heights, strict=True)]
        for place, month in enumerate(names):
            if (mean := means.get(f"{tier} {month}")) is not None:
                row.annotate(f"{mean:+.1%}", (place, base[place]), ha="center", va="bottom", fontsize=6, color=_INK)
        row.set_ylabel(tier, fontsize=8)
        row.margins(y=0.2)
        row.tick_params(labelsize=7)
        row.set_xticks(range(len(names)), names if tier == tiers[-1] else [""] * len(names), fontsize=7)
    first = axes[0] if len(tiers) > 1 else axes
    first.set_title(f"{title}: outcomes by month and tier, with the mean net return", fontsize=9, color=_INK)
    if names:
        first.legend(fontsize=6, ncols=3, loc="upper left", frameon=False)
    return png(drawn)


def example(bars: pl.DataFrame, width: timedelta, label: dict[str, Any], title: str) -> bytes:
    """Draw one setup on its candles: signal, entry, barriers and exit; PNG bytes.

    ``bars`` (one instrument, sorted by open time) begin before the signal and end after the exit; ``label`` is one row
    of the labels table.
    """
    shown = bars.head(_MOST_BARS)
    origin = shown["open_time"][0]
    drawn, (price, volume) = figure(9.0, 4.6, rows=2, ratios=(4, 1))
    last = len(pl.datetime_range(origin, shown["open_time"][-1], width, eager=True))
    draw_candles(price, volume, shown, width, last)
    entry, end = ((label[name] - origin) / width for name in ("entry_ts", "label_end_ts"))
    limit = entry + label["horizon"]
    price.axvspan((label["signal_ts"] - origin) / width - 0.5, entry - 0.5, color="#cfe3f7", linewidth=0)
    for name, colour in (("take_profit", _COLOURS["TP"]), ("stop_loss", _COLOURS["SL"])):
        # A solid line up to the exit, a faint one to the end of the horizon.
        price.hlines(label[name], entry - 0.5, end - 0.5, colors=colour, linestyles="dashed", linewidth=1.4)
        price.hlines(label[name], end - 0.5, min(limit, last) - 0.5, colors=colour, linestyles="dotted", linewidth=0.7)
        price.annotate(
            name.replace("_", " "), (last - 0.5, label[name]), fontsize=7, color=colour, va="bottom", ha="right"
        )
    if label.get("orders_filled", 1) > 1:
        price.hlines(label["average_px"], entry - 0.5, end - 0.5, colors=_ENTRY, linestyles="dotted", linewidth=1.2)
        words = f"average of {label['orders_filled']} orders "
        price.annotate(words, (entry - 1, label["average_px"]), fontsize=7, color=_ENTRY, va="center", ha="right")
    if limit <= last:
        price.vlines(limit - 0.5, label["stop_loss"], label["take_profit"], colors=_COLOURS["TIME"], linewidth=1)
    price.plot([entry - 0.5], [label["entry_px"]], marker=">", color=_ENTRY, markersize=7, zorder=5)
    price.plot([end - 0.5], [label["exit_px"]], marker="x", color=_INK, markersize=8, markeredgewidth=2.2, zorder=5)
    for words, at, level, side in (
        ("entry", entry - 0.5, label["entry_px"], "right"),
        ("exit", end - 0.5, label["exit_px"], "left"),
    ):
        price.annotate(
            words, (at, level), (-7 if side == "right" else 7, 0), textcoords="offset points", fontsize=7, ha=side,
            va="center", color=_INK, bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
        )  # fmt: skip
    price.set_title(
        f"{title} · {label['signal_ts']:%Y-%m-%d %H:%M} UTC · {label['outcome']} after {label['bars_to_touch']} bars, "
        f"net {label['net_return']:+.2%}",
        fontsize=9,
        color=_INK,
    )
    return png(drawn)


def _key(columns: int = 3) -> pl.Expr:
    return pl.concat_str(pl.col("tier", "month", "outcome") if columns == 3 else pl.col("tier", "month"), separator=" ")
