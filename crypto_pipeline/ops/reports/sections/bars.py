"""Bars: how fresh they are, which instruments lack them, how many came, and the gaps that were found and filled."""

from __future__ import annotations

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.alerting.messages import length_text
from crypto_pipeline.ops.charts.reports import bars_per_hour_chart
from crypto_pipeline.ops.reports.content import Mood, ReportSection, ReportTable
from crypto_pipeline.ops.reports.source import ReportSource

_ORDER = [str(one) for one in Timeframe]


def freshness(source: ReportSource) -> ReportSection:
    """How long ago the newest bar of each timeframe and venue ended, at best and at worst."""
    rows = sorted(source.reads.newest_bars(_ORDER), key=lambda row: (row["venue"], _ORDER.index(row["timeframe"])))
    shown = []
    for row in rows:
        width = Timeframe(row["timeframe"]).delta
        ages = [None if row[name] is None else source.market_now - row[name] - width for name in ("newest", "oldest")]
        texts = [None if age is None else length_text(age) for age in ages]
        shown.append((row["venue"] or "–", row["timeframe"], f"{row['with_bars']} of {row['instruments']}", *texts))
    without = [row for row in rows if row["with_bars"] < row["instruments"]]
    minute = [row for row in rows if row["timeframe"] == "1m" and row["newest"] is not None]
    best = max((row["newest"] for row in minute), default=None)
    said = "No instrument is collected." if not rows else "No 1m bar is stored."
    if best is not None:
        said = (
            f"The newest 1m bar ended {length_text(source.market_now - best - Timeframe.M1.delta)} before the report."
        )
    columns = ("venue", "timeframe", "instruments with bars", "newest bar ended, ago", "furthest behind, ago")
    mood: Mood = "bad" if without or best is None else "good"
    return ReportSection("freshness", "Freshness", said, mood, [ReportTable(columns, shown)])


def missing(source: ReportSource) -> ReportSection:
    """Instruments that trade at all hours and have no new minute."""
    states = [one for one in source.checks if one.name == "instruments_silent"]
    if not states or states[0].status == "unknown":
        why = states[0].summary if states else "it was not looked at"
        return ReportSection("missing", "Instruments without new bars", f"Not known: {why}.", "unknown")
    state = states[0]
    rows = [(one.get("instrument"), one.get("venue"), one.get("seconds")) for one in state.offenders]
    tables = [ReportTable(("instrument", "venue", "seconds overdue"), rows)] if rows else []
    mood: Mood = "bad" if state.status == "bad" else "good"
    said = f"{state.summary[0].upper()}{state.summary[1:]}."
    return ReportSection("missing", "Instruments without new bars", said, mood, tables)


def collected(source: ReportSource) -> ReportSection:
    """Bars of the span by venue, timeframe and source, with a chart of 1m bars by hour."""
    start, end = source.market_span
    rows = sorted(source.reads.bars(start, end), key=lambda row: (row["venue"], _ORDER.index(row["timeframe"])))
    total = sum(row["bars"] for row in rows)
    span = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    said = f"{total:,} bars of the time from {span} are stored."
    columns = ("venue", "timeframe", "source", "bars", "newest (UTC)")
    table = ReportTable(columns, [tuple(row[name] for name in row) for row in rows])
    hours = source.reads.bars_per_hour(start, end)
    charts = {"1m bars by hour": bars_per_hour_chart(hours, start, end)} if hours else {}
    title = "Bars overnight" if source.report == "morning" else "Bars of the day"
    return ReportSection("bars", title, said, "plain" if total else "bad", [table] if rows else [], charts)


def gaps(source: ReportSource) -> ReportSection:
    """Gaps that were found and filled in the span, and those that are open without a reason."""
    rows = sorted(source.reads.gaps(source.start, source.end), key=lambda row: _ORDER.index(row["timeframe"]))
    found, filled, open_ones = (sum(row[name] for row in rows) for name in ("gaps_found", "gaps_filled", "gaps_open"))
    said = f"{found:,} gaps were found, {filled:,} were filled, {open_ones:,} are open without a reason."
    columns = ("timeframe", "found", "filled", "open")
    shown = [(row["timeframe"], row["gaps_found"], row["gaps_filled"], row["gaps_open"]) for row in rows]
    tables = [ReportTable(columns, shown)] if shown else []
    return ReportSection("gaps", "Gaps found and filled", said, "bad" if open_ones else "good", tables)
