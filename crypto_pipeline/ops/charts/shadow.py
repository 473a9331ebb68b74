"""Charts of shadow variants as PNG bytes: what each earned over time, and how sure its difference to production is."""

from __future__ import annotations

from typing import Any

import polars as pl

from crypto_pipeline.ops.charts.bars import figure, png

_INK, _CHAMPION, _SURE, _UNSURE = "#30363d", "#1f5fa8", "#1a7f5a", "#9aa4af"
_COLOURS = ("#c9a227", "#8250df", "#c0392b", "#57606a", "#e36209", "#0969da", "#1a7f5a", "#bf3989")


def earned(outcomes: pl.DataFrame, champion: str, title: str) -> bytes:
    """Draw the sum of daily net results of every variant, in percent of the capital; PNG bytes.

    ``outcomes``: ``variation``, ``strategy``, ``day`` and ``net`` (a fraction); strategies are added up.
    """
    drawn, axes = figure(7.4, 3.6)
    days = outcomes.group_by("variation", "day").agg(pl.col("net").sum()).sort("variation", "day")
    others = iter(_COLOURS * 2)
    for (name,), part in days.group_by("variation", maintain_order=True):
        own = name == champion
        axes.plot(
            part["day"].to_list(), (100 * part["net"].cum_sum()).to_list(), color=_CHAMPION if own else next(others),
            linewidth=2.0 if own else 1.0, label=str(name), zorder=3 if own else 2,
        )  # fmt: skip
    axes.axhline(0, color=_INK, linewidth=0.6, linestyle="dotted")
    axes.set_ylabel("net, % of the capital", fontsize=8)
    axes.set_title(f"{title} (UTC)", fontsize=9, color=_INK)
    axes.legend(fontsize=6, frameon=False, ncol=3, loc="best")
    _plain(axes)
    drawn.autofmt_xdate(rotation=0, ha="center")
    return png(drawn)


def differences(rows: pl.DataFrame, title: str) -> bytes:
    """Draw each variant's mean daily difference to production with its 95 % interval, a panel a strategy; PNG bytes.

    ``rows``: ``strategy``, ``variant``, ``difference``, ``low`` and ``high``, in percent of the capital a day.
    """
    groups = [(str(key[0]), part) for key, part in rows.group_by("strategy", maintain_order=True)]
    heights = tuple(max(1, part.height) for _, part in groups) or (1,)
    drawn, panels = figure(6.4, 0.9 + 0.24 * sum(heights), rows=len(heights), ratios=heights)
    for axes, (name, part) in zip(panels if isinstance(panels, list | tuple) else _each(panels), groups, strict=False):
        axes.axvline(0, color=_CHAMPION, linewidth=0.8)
        for place, row in enumerate(part.reverse().iter_rows(named=True)):
            colour = _SURE if row["low"] > 0 or row["high"] < 0 else _UNSURE
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.4)
            axes.plot([row["difference"]], [place], color=colour, marker="o", markersize=4)
        axes.set_yticks(range(part.height), part["variant"].reverse().to_list())
        axes.set_ylabel(name, fontsize=8)
        axes.set_ylim(-0.6, part.height - 0.4)
        _plain(axes)
    _each(panels)[0].set_title(title, fontsize=9, color=_INK)
    _each(panels)[-1].set_xlabel("difference to production a day, % of the capital", fontsize=8)
    return png(drawn)


def _each(panels: Any) -> list[Any]:
    return list(panels) if hasattr(panels, "__iter__") else [panels]


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
