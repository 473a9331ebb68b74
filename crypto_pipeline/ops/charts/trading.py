"""Charts of trading as PNG bytes: equity with its drawdowns, profits by strategy, returns of trades, decisions."""

from __future__ import annotations

from typing import Any

import polars as pl

from crypto_pipeline.ops.charts.bars import figure, png
from crypto_pipeline.trading.portfolio.equity_figures import drawdowns

_INK, _LINE, _FALL, _HELD = "#30363d", "#1f5fa8", "#c0392b", "#9cc3ea"
_OUTCOMES = {"TP": "#1a7f5a", "TIME": "#c9a227", "SL": "#c0392b"}
#: Of strategies and of reasons, in order.
_COLOURS = ("#1f5fa8", "#1a7f5a", "#c9a227", "#8250df", "#c0392b", "#57606a", "#e36209", "#0969da")
_TAKEN = "#1a7f5a"
#: Reasons that are told apart; the others are drawn as one.
_MOST_REASONS = 7
#: More moments are thinned out before they are drawn: a chart is 700 points wide.
_MOST_POINTS = 4_000
_BINS = 40


def equity_curve(equity: pl.DataFrame, title: str) -> bytes:
    """Draw equity, its drawdowns and the share in positions, below each other; PNG bytes.

    ``equity``, sorted by ``moment`` (UTC): ``equity`` and ``positions``, in the quote currency.
    """
    fallen = drawdowns(equity)["drawdown"]
    shown = equity.select("moment", pl.col("equity", "positions").cast(pl.Float64)).with_columns(fallen)
    if shown.height > _MOST_POINTS:  # the deepest fall of each group of moments stays
        group = pl.int_range(pl.len()) // (shown.height // _MOST_POINTS + 1)
        shown = shown.group_by(group.alias("group"), maintain_order=True).agg(
            pl.col("moment", "equity").last(), pl.col("positions", "drawdown").max()
        )
    times = shown["moment"].to_list()
    drawn, (worth, fall, held) = figure(9.0, 5.2, rows=3, ratios=(4, 2, 1), margins=(0.85, 0.3, 0.2, 0.35))
    worth.plot(times, shown["equity"].to_list(), color=_LINE, linewidth=1.1)
    if shown.height:
        worth.axhline(shown["equity"][0], color=_INK, linewidth=0.6, linestyle="dotted")
    worth.set_ylabel("equity", fontsize=8)
    fall.fill_between(times, [-100 * value for value in shown["drawdown"]], 0, color=_FALL, alpha=0.35, linewidth=0)
    fall.set_ylabel("drawdown, %", fontsize=8)
    share = (100 * shown["positions"] / shown["equity"]).to_list()
    held.fill_between(times, share, 0, color=_HELD, linewidth=0, step="post")
    held.set_ylabel("held, %", fontsize=8)
    for axes in (worth, fall, held):
        axes.tick_params(labelsize=7)
        axes.margins(x=0.01)
        axes.spines[["top", "right"]].set_visible(False)
    worth.set_xticklabels([])
    fall.set_xticklabels([])
    _dates(held)
    worth.set_title(f"{title} (UTC)", fontsize=9, color=_INK)
    return png(drawn)


def profit_by_strategy(trades: pl.DataFrame, title: str) -> bytes:
    """Draw the sum of net profits of closed trades over time, one line a strategy; PNG bytes.

    ``trades``: ``exit_ts`` (UTC), ``strategy``, ``pnl`` (in the quote currency).
    """
    drawn, axes = figure(9.0, 3.0)
    ordered = trades.select("exit_ts", "strategy", pl.col("pnl").cast(pl.Float64)).sort("exit_ts")
    for colour, (name, rows) in zip(_COLOURS, _groups(ordered, "strategy"), strict=False):
        sums = rows["pnl"].cum_sum().to_list()
        words = f"{name}: {rows.height} trades, {sums[-1]:+,.2f}"
        axes.plot(rows["exit_ts"].to_list(), sums, color=colour, drawstyle="steps-post", linewidth=1.1, label=words)
    axes.axhline(0, color=_INK, linewidth=0.6)
    axes.set_title(f"{title}: net profit of closed trades (UTC)", fontsize=9, color=_INK)
    axes.tick_params(labelsize=7)
    if ordered.height:
        axes.legend(fontsize=7, frameon=False, loc="best")
        _dates(axes)
    return png(drawn)


def trade_returns(trades: pl.DataFrame, title: str) -> bytes:
    """Draw how many trades came to which net return, by outcome; PNG bytes. ``trades``: ``net_return``, ``outcome``."""
    drawn, axes = figure(6.4, 3.0)
    parts = [(name, trades.filter(pl.col("outcome") == name)["net_return"].to_list()) for name in _OUTCOMES]
    present = [(name, [100 * value for value in values]) for name, values in parts if values]
    if present:
        names = [f"{name}: {len(values)}" for name, values in present]
        axes.hist(
            [values for _, values in present], bins=_BINS, stacked=True, label=names,
            color=[_OUTCOMES[name] for name, _ in present],
        )  # fmt: skip
        axes.legend(fontsize=7, frameon=False, loc="best")
    axes.axvline(0, color=_INK, linewidth=0.6)
    axes.set_xlabel("net return of a trade, %", fontsize=8)
    axes.set_ylabel("trades", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.set_title(f"{title}: net returns", fontsize=9, color=_INK)
    return png(drawn)


def decisions(rows: pl.DataFrame, title: str) -> bytes:
    """Draw signals by UTC day: those that were taken, and those that were not, by what rejected them; PNG bytes.

    ``rows``: ``signal_ts`` (UTC) and ``limit_name`` (null: taken).
    """
    counted = rows.group_by(pl.col("signal_ts").dt.date().alias("day"), "limit_name").len()
    totals = (
        counted.drop_nulls("limit_name").group_by("limit_name").agg(pl.col("len").sum()).sort("len", descending=True)
    )
    told = totals.head(_MOST_REASONS)["limit_name"].to_list()
    days = counted["day"].unique().sort().to_list()
    drawn, axes = figure(9.0, 3.0)
    base = [0] * len(days)
    groups: list[tuple[str, str, pl.Expr]] = [("taken", _TAKEN, pl.col("limit_name").is_null())]
    rest = [colour for colour in _COLOURS if colour != _TAKEN]
    groups += [(name, colour, pl.col("limit_name") == name) for name, colour in zip(told, rest, strict=False)]
    if totals.height > len(told):
        groups.append(("others", "#d0d7de", pl.col("limit_name").is_not_null() & ~pl.col("limit_name").is_in(told)))
    for name, colour, which in groups:
        known = dict(counted.filter(which).group_by("day").agg(pl.col("len").sum()).iter_rows())
        heights = [known.get(day, 0) for day in days]
        axes.bar(days, heights, bottom=base, color=colour, width=0.85, label=f"{name}: {sum(heights)}")
        base = [below + height for below, height in zip(base, heights, strict=True)]
    axes.set_title(f"{title}: signals by day and decision (UTC)", fontsize=9, color=_INK)
    axes.tick_params(labelsize=7)
    if days:
        axes.legend(fontsize=6, frameon=False, ncols=3, loc="upper left")
        axes.set_ylim(0, 1.3 * max(base))
        _dates(axes)
    return png(drawn)


def _groups(frame: pl.DataFrame, column: str) -> list[tuple[str, pl.DataFrame]]:
    names = sorted(frame[column].unique().to_list())
    return [(name, frame.filter(pl.col(column) == name)) for name in names]


def _dates(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
