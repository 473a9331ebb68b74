"""Filling what is missing of one timeframe: from stored trades, from the venue, or from a venue that stands in."""

from __future__ import annotations

import asyncio
from datetime import datetime

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.fill.explain import Explainer
from crypto_pipeline.healing.fill.fetch import FetchResult, fetch_bars
from crypto_pipeline.healing.fill.stored_trades import fill_from_trades
from crypto_pipeline.healing.passes import NAMED, FillPass
from crypto_pipeline.healing.reports import Counts
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import intersect, merge_spans, subtract
from crypto_pipeline.market.gaps.sessions import days_over_closures
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import FetchPlan


async def fill(work: FillPass, timeframe: Timeframe, start: datetime, end: datetime) -> None:
    """Store what is missing in ``[start, end)`` and explain what the venue did not state."""
    store, names, now, mode = work.store, work.names, work.horizon.now, work.mode
    counts = work.counts(timeframe)
    explainer = Explainer(work, timeframe)
    explainer.outside_listing(start, end)
    to_take_back = work.failover.to_take_back(timeframe, names, start, end, now)
    missing = plan.missing(store, timeframe, (start, end), names, work.horizon)
    if mode.ask_now:
        lost = plan.lost_in_archive(store, timeframe, (start, end), names, work.horizon)
        missing = merge_spans(pl.concat([missing, lost]))
    if timeframe is Timeframe.M1 and mode.only is not None:
        missing = intersect(missing, mode.only)
    gaps = missing if mode.ask_now else plan.due(store, timeframe, missing, now)
    if timeframe is Timeframe.M1 and mode.from_trades and work.venue.traits.contiguous_trade_ids:
        holes = merge_spans(pl.concat([missing, to_take_back.select(*span.SPAN_SCHEMA)]))
        filled = await asyncio.to_thread(fill_from_trades, store, work.venue.name, holes, counts)
        gaps = merge_spans(pl.concat([gaps, intersect(missing, filled)]))
        missing = subtract(missing, filled)
    due = intersect(gaps, missing)
    # Not every venue states bars of every width; what cannot be rolled up there stays missing, and is shown.
    if timeframe in work.venue.traits.timeframes and not (due.is_empty() and to_take_back.is_empty()):
        counts.planned += span.bar_count(due, timeframe)
        await _fetch(work, timeframe, due, to_take_back, explainer)
        missing = plan.missing(store, timeframe, (start, end), names, work.horizon)
    counts.still_missing += span.bar_count(missing, timeframe)
    _count_gaps(counts, gaps, missing)


async def fetch_again(work: FillPass, timeframe: Timeframe, spans: pl.DataFrame) -> None:
    """Ask the venue for ``spans`` whatever is expected, store what it states, and explain the rest."""
    horizon = work.horizon
    nothing = work.failover.to_take_back(timeframe, [], horizon.start, horizon.now, horizon.now)
    work.counts(timeframe).planned += span.bar_count(spans, timeframe)
    await _fetch(work.in_mode(NAMED), timeframe, spans, nothing, Explainer(work, timeframe))


async def _fetch(
    work: FillPass, timeframe: Timeframe, due: pl.DataFrame, to_take_back: pl.DataFrame, explainer: Explainer
) -> None:
    """Ask the venue for what is ``due`` and for what other venues stated in its place.

    Where the venue cannot be asked, other venues are asked for what is ``due``.
    """
    failover, report = work.failover, work.report
    if failover.down is not None:
        await _stand_in(work, timeframe, due, failover.down)
        return
    asked = merge_spans(pl.concat([due, to_take_back.select(*span.SPAN_SCHEMA)]))
    fetched = await fetch_bars(
        work,
        timeframe,
        _fetch_plans(asked, work, timeframe),
        work.counts(timeframe),
        mark=work.mode.mark if timeframe is Timeframe.M1 else None,
        witnesses=work.venue_symbols,
    )
    report.problems.update(fetched.failed)
    await explainer.explain(fetched, work.counts(timeframe), work.progress)
    await asyncio.to_thread(failover.taken_back, to_take_back, fetched.answered_spans(), work.horizon.now)
    unasked = _unasked(due, fetched)
    if unasked.height:
        failover.because = next(iter(fetched.unavailable.values()))
        if not fetched.answered:  # it will not answer for the wider bars of this pass either
            failover.down = failover.because
        await _stand_in(work, timeframe, unasked, failover.because)


async def _stand_in(work: FillPass, timeframe: Timeframe, spans: pl.DataFrame, because: str) -> None:
    work.report.problems.update(dict.fromkeys(spans["instrument"].unique().to_list(), because))
    work.counts(timeframe).stood_in += await work.failover.stand_in(
        timeframe, spans, work.horizon, "unavailable", because
    )


def _unasked(due: pl.DataFrame, fetched: FetchResult) -> pl.DataFrame:
    """What of ``due`` the venue could not be asked for."""
    failed = due.filter(pl.col("instrument").is_in(list(fetched.unavailable)))
    return subtract(failed, fetched.answered_spans())


def _count_gaps(counts: Counts, gaps: pl.DataFrame, missing: pl.DataFrame) -> None:
    """Count ``gaps``, and those of which nothing is ``missing`` any more: each bar is stored, or explained."""
    counts.gaps += gaps.height
    open_parts = intersect(gaps, missing).select("instrument", pl.col("start").alias("part"))
    holed = open_parts.sort("part").join_asof(
        gaps.sort("start"),
        left_on="part",
        right_on="start",
        by="instrument",
        strategy="backward",
        check_sortedness=False,
    )
    counts.gaps_filled += gaps.height - holed.select("instrument", "start").unique().height


def _fetch_plans(spans: pl.DataFrame, work: FillPass, timeframe: Timeframe) -> list[FetchPlan]:
    symbols = work.venue_symbols
    plans = []
    for (instrument,), rows in spans.partition_by("instrument", as_dict=True).items():
        symbol = symbols.get(str(instrument))
        if symbol is None:
            work.report.problems[str(instrument)] = "the venue does not list it"
            continue
        wanted = days_over_closures(rows, work.calendars) if str(instrument) in work.calendars else rows
        plans.append(FetchPlan(str(instrument), symbol, timeframe, list(wanted.select("start", "end").iter_rows())))
    return plans
