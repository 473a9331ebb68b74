"""Reconciliation: our bars are compared with the venue's own, because a gap detector does not see wrong minutes.

A disagreement is written down with both values, and the 1m bars under it are requested again. Then it is either settled
(the venue had corrected its minutes, or ours were damaged) or disputed (the venue contradicts itself). Where our bar is
itself the venue's statement in that width, the newer statement is taken. The days that were compared are written down
with the data version that was read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.healing.comparison.differences import Answered, cell_day, differing, no_differences, within
from crypto_pipeline.healing.fill.fetch import fetch_bars
from crypto_pipeline.healing.passes import HealingPass
from crypto_pipeline.healing.reports import Counts, ReconcileReport, silent
from crypto_pipeline.healing.rollup import roll_up_span
from crypto_pipeline.market.bars import BAR_SCHEMA, FAILOVER, VALUE_COLUMNS, BarOrigin, empty_bars
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import intersect, merge_spans, subtract, to_spans
from crypto_pipeline.market.gaps.classification import GapState
from crypto_pipeline.market.gaps.first_bars import FirstBars
from crypto_pipeline.market.reconciliation import Disagreement, compare_bars
from crypto_pipeline.market.rollup import roll_up
from crypto_pipeline.market.timeframes import LOWER, Timeframe
from crypto_pipeline.venues import BarsAnswer, FetchPlan, VenueError

KIND = "rollup_vs_venue"
#: Columns in which a venue states a bar.
_STATED = ["open_time", *VALUE_COLUMNS]


class Reconciler:
    """One reconciliation of the instruments of a pass that the venue lists."""

    def __init__(self, work: HealingPass) -> None:
        self.work = replace(work, instruments=work.instruments.drop_nulls("venue_symbol"))
        self.store, self.venue, self.failover, self.horizon = work.store, work.venue, work.failover, work.horizon
        self.instruments = self.work.instruments
        self.report = ReconcileReport()
        #: why instruments could not be asked: the errors behind ``report.problems``
        self.errors: dict[str, VenueError] = {}

    async def run(
        self, start: datetime, end: datetime, timeframes: Sequence[Timeframe], *, reread: bool
    ) -> ReconcileReport:
        """Compare, request again what disagrees, roll up, settle or dispute. ``reread``: request every minute again."""
        if self.failover.down is not None:
            self.report.problems |= dict.fromkeys(self.instruments["instrument"], self.failover.down)
            return self.report
        if reread:
            await self._refetch(self._all(Timeframe.M1, start, end), "read again")
            await asyncio.to_thread(self._roll, start, end)
        for timeframe in timeframes:
            begin, until = self.horizon.clip(timeframe, start, end)
            if begin < until and timeframe in self.venue.traits.timeframes:
                cells = self.store.coverage.cells([timeframe], begin, until, self.instruments["instrument"].to_list())
                whole = within(cells, timeframe, begin, until).filter(pl.col("present") > 0)
                await self.compare(timeframe, self._all(timeframe, begin, until), whole)
        return self.report

    async def compare(self, timeframe: Timeframe, plans: list[FetchPlan], cells: pl.DataFrame) -> None:
        """Compare the spans of ``plans``, settle what differs, and write down that ``cells`` were compared.

        ``cells`` (``instrument``, ``day``, ``data_version``) lie whole in the spans and were read before: those that
        change meanwhile are due again.
        """
        spans = [bounds for plan in plans for bounds in plan.spans]
        if not spans:
            return
        start, end = min(first for first, _ in spans), max(last for _, last in spans)
        substituted = self.store.failovers.open(self.venue.name, reason="disputed")["failover_id"].to_list()
        answered = await self._compare(timeframe, plans)
        found = answered.differing
        suspects = found.filter(pl.col("kind") != str(Disagreement.ONLY_OURS))
        self.report.disagreed += found.height
        if found.height:
            self._record(timeframe, found)
        if suspects.height:
            under = self._windows(timeframe, suspects)
            fresh = await self._refetch(under, f"refetch under {timeframe}", choose=self._news)
            await asyncio.to_thread(self._roll, start, end)
            found = await asyncio.to_thread(self._judge, timeframe, found, answered.stated, fresh)
        disputed = self._settle(timeframe, answered.spans, found)
        if disputed.height and self.failover.possible:
            windows = merge_spans(to_spans(disputed.select("instrument", "open_time"), timeframe))
            if await self.failover.substitute(windows, self.horizon):
                await asyncio.to_thread(self._roll, start, end)
        await asyncio.to_thread(self.failover.tell_disputes, substituted)
        self._remember(timeframe, cells, answered, found)

    async def _compare(self, timeframe: Timeframe, plans: list[FetchPlan]) -> Answered:
        """Ask the venue for the spans and compare its answers with the stored bars."""
        total = sum(timeframe.count(*bounds) for plan in plans for bounds in plan.spans)
        firsts = {
            name: FirstBars.read(*first).of(timeframe)
            for name, *first in self.instruments.select("instrument", "listed", "first_bars").iter_rows()
        }
        answered, done = Answered(), 0
        # From REST: it states what holds now, while files of the archive may be older than what was stored from it.
        async for answer in self.venue.bars_many(plans, archive=False, on_error=self._failed):
            await asyncio.to_thread(self._compare_answer, answer, firsts[answer.instrument], answered)
            done += timeframe.count(answer.start, answer.end)
            self.work.progress(f"compare {timeframe}", done, total)
        name = str(timeframe)
        self.report.compared[name] = self.report.compared.get(name, 0) + answered.compared
        return answered

    def _compare_answer(self, answer: BarsAnswer, first: datetime | None, answered: Answered) -> None:
        """Compare one answer with the stored bars, and add the result to ``answered``."""
        instrument, timeframe = answer.instrument, answer.timeframe
        since = answer.start if first is None else min(max(answer.start, first), answer.end)
        if answer.refused:
            self.store.bars_apart.refuse(self.venue.name, instrument, timeframe, answer.refused)
        held = self._comparable(self.store.reader.read([instrument], timeframe, since, answer.end))
        found = differing(instrument, held, answer.bars)
        taken = held.filter(pl.col("source") == str(BarOrigin.VENUE_HISTORICAL))
        revised = answer.bars.join(found, on="open_time", how="semi").join(taken, on="open_time", how="semi")
        if revised.height:
            self.report.superseded += self.store.bars.write(revised, timeframe).superseded
            held = self._comparable(self.store.reader.read([instrument], timeframe, since, answer.end))
            found = differing(instrument, held, answer.bars)
        apart = self._over_absent_minutes(instrument, timeframe, found)
        if apart.height:
            held = held.join(apart, on="open_time", how="anti")
            found = found.join(apart, on="open_time", how="anti")
            self.report.incomparable += apart.height
        answered.add(answer, held, found)

    def _over_absent_minutes(self, instrument: str, timeframe: Timeframe, found: pl.DataFrame) -> pl.DataFrame:
        """Windows of ``found`` (``open_time``) over absent minutes: the venue's bar may contain more minutes than ours,
        so the two cannot be compared. Minutes in which nothing traded do not count as absent."""
        if found.is_empty() or timeframe is Timeframe.M1:
            return found.select("open_time").clear()
        windows = to_spans(found.select("instrument", "open_time"), timeframe)
        start, end = windows.select(pl.col("start").min(), pl.col("end").max()).row(0)
        states = [str(state) for state in GapState if state is not GapState.NO_TRADE]
        absent = self.store.ledger.open(Timeframe.M1, [instrument], states, start, end)
        inside = intersect(windows, merge_spans(absent.select(*span.SPAN_SCHEMA)))
        minutes = span.open_times_of(inside, Timeframe.M1)
        return minutes.select(timeframe.floor_expr()).unique()

    def _comparable(self, ours: pl.DataFrame) -> pl.DataFrame:
        """The bars that can be compared with the venue's own: not those of another venue, which it will replace."""
        return ours.filter(~pl.col("source").is_in(list(map(str, FAILOVER))))

    def _remember(self, timeframe: Timeframe, cells: pl.DataFrame, answered: Answered, left: pl.DataFrame) -> None:
        """Write down the days that were compared, unless they are not over yet or their instrument failed."""
        over = self.horizon.now.date() - timedelta(days=timeframe.cell_days)
        days = cells.filter(~pl.col("instrument").is_in(list(self.report.problems)) & (pl.col("day") <= over))
        differing = left.group_by("instrument", cell_day(timeframe)).len("disagreed")
        counted = days.join(answered.by_day(timeframe), on=["instrument", "day"], how="left").join(
            differing, on=["instrument", "day"], how="left"
        )
        rows = counted.with_columns(
            pl.lit(str(timeframe)).alias("timeframe"), pl.col("stored", "compared", "disagreed").fill_null(0)
        )
        self.store.comparisons.record(rows, self.venue.name, self.horizon.now)

    def _judge(
        self, timeframe: Timeframe, found: pl.DataFrame, theirs: pl.DataFrame, fresh: pl.DataFrame
    ) -> pl.DataFrame:
        """The bars that still disagree after the minutes under them were requested again.

        Minutes that add up to the venue's own bar are stored as the verdict.
        """
        left = self._still(timeframe, found, theirs)
        # A minute has no parts that could prove either side.
        if left.is_empty() or fresh.is_empty() or timeframe is Timeframe.M1:
            return left
        # Our minutes may outrank the venue's (they were built from trades). If the venue's own minutes add up to its
        # own bar, they win by verdict, and the reconciliation row is the evidence.
        under = fresh.with_columns(timeframe.floor_expr().alias("window")).join(
            left.select("instrument", pl.col("open_time").alias("window")), on=["instrument", "window"], how="semi"
        )
        proposed = roll_up(under.drop("window"), timeframe)
        wanted = theirs.join(left, on=["instrument", "open_time"], how="semi")
        contradicted = compare_bars(proposed.select(*BAR_SCHEMA), wanted)
        proven = left.join(contradicted, on=["instrument", "open_time"], how="anti")
        if proven.is_empty():
            return left
        verdict = under.join(
            proven.select("instrument", pl.col("open_time").alias("window")), on=["instrument", "window"], how="semi"
        ).drop("window")
        self.store.bars.write(verdict.with_columns(pl.lit(str(BarOrigin.RECONCILED)).alias("source")), Timeframe.M1)
        self._roll(proven["open_time"].min(), proven["open_time"].max() + timeframe.delta)  # type: ignore[operator,arg-type]
        return self._still(timeframe, left, theirs)

    def _still(self, timeframe: Timeframe, found: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
        parts = [no_differences()]
        for (instrument,), rows in found.partition_by("instrument", as_dict=True).items():
            first, last = rows.select(pl.col("open_time").min(), pl.col("open_time").max().alias("last")).row(0)
            ours = self.store.reader.read([str(instrument)], timeframe, first, last + timeframe.delta)
            mine = self._comparable(ours.join(rows, on="open_time", how="semi"))
            stated = theirs.filter(pl.col("instrument") == instrument)
            parts.append(differing(str(instrument), mine, stated))
        return pl.concat([part.select(no_differences().columns) for part in parts])

    async def _refetch(
        self, plans: list[FetchPlan], stage: str, choose: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    ) -> pl.DataFrame:
        """Ask the venue for 1m bars again by REST and write those that ``choose`` chooses; returns what it stated."""
        kept: list[pl.DataFrame] = [empty_bars()]
        counts = Counts()
        # A verdict needs the venue's minutes in memory; a whole history is never judged at once.
        small = sum(Timeframe.M1.count(*one) for plan in plans for one in plan.spans) <= 200_000

        fetched = await fetch_bars(
            self.work,
            Timeframe.M1,
            plans,
            counts,
            stage=stage,
            archive=False,
            seen=kept.append if small else None,
            choose=choose,
        )
        self.report.superseded += counts.superseded
        self.report.problems.update(fetched.failed)
        return pl.concat(kept)

    def _news(self, bars: pl.DataFrame) -> pl.DataFrame:
        """The 1m bars of one instrument that are not stored with the same values.

        Bars that the venue only repeats are not written: a lasting dispute would otherwise change the data version of
        its days at every comparison, and all that is computed from them.
        """
        if bars.is_empty():
            return bars
        first, last = bars["open_time"][0], bars["open_time"][-1]
        stored = self.store.reader.read([bars["instrument"][0]], Timeframe.M1, first, last + Timeframe.M1.delta)
        return bars.join(stored, on=_STATED, how="anti", nulls_equal=True)

    def _roll(self, start: datetime, end: datetime) -> None:
        for timeframe in LOWER:
            begin, until = self.horizon.clip(timeframe, start, end)
            roll_up_span(self.work, timeframe, begin, until, Counts(), silent)

    def _record(self, timeframe: Timeframe, found: pl.DataFrame) -> None:
        self.store.reconciliations.record(
            found.select(
                "instrument",
                pl.lit(str(timeframe)).alias("timeframe"),
                "open_time",
                pl.lit(KIND).alias("kind"),
                # a bar that only one side has is null on the other, in JSON's words
                pl.col("ours").map_elements(json.dumps, return_dtype=pl.String, skip_nulls=False),
                pl.col("theirs").map_elements(json.dumps, return_dtype=pl.String, skip_nulls=False),
                "columns",
            )
        )

    def _settle(
        self, timeframe: Timeframe, answered: list[tuple[str, datetime, datetime]], left: pl.DataFrame
    ) -> pl.DataFrame:
        """Resolve the rows of the answered spans that no longer disagree; mark the others as disputed and return them.

        Rows of spans that the venue did not answer for stay as they are.
        """
        if not answered:
            return self.store.reconciliations.open(timeframe=timeframe, instruments=[])
        rows = self.store.reconciliations.open(
            timeframe=timeframe,
            instruments=sorted({name for name, _, _ in answered}),
            start=min(start for _, start, _ in answered),
            end=max(end for _, _, end in answered),
        )
        if rows.is_empty():
            return rows
        remaining = rows.join(left, on=["instrument", "open_time"], how="semi")
        unseen = to_spans(rows.select("instrument", "open_time"), timeframe)
        unseen = subtract(unseen, merge_spans(span.spans_from_rows(answered)))
        settled = rows.join(left, on=["instrument", "open_time"], how="anti").filter(
            ~pl.col("instrument").is_in(list(self.report.problems))
        )
        settled = settled.join(span.open_times_of(unseen, timeframe), on=["instrument", "open_time"], how="anti")
        self.store.reconciliations.resolve(settled["reconciliation_id"].to_list())
        self.store.reconciliations.mark_disputed(remaining["reconciliation_id"].to_list())
        self.report.resolved += settled.height
        self.report.disputed += remaining.height
        return remaining

    def _all(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[FetchPlan]:
        begin, until = self.horizon.clip(timeframe, start, end)
        return [
            FetchPlan(instrument, symbol, timeframe, [(begin, until)])
            for instrument, symbol in self.instruments.select("instrument", "venue_symbol").iter_rows()
        ]

    def _windows(self, timeframe: Timeframe, found: pl.DataFrame) -> list[FetchPlan]:
        symbols = dict(self.instruments.select("instrument", "venue_symbol").iter_rows())
        windows = merge_spans(to_spans(found.select("instrument", "open_time"), timeframe))
        # minutes that retention removed are not requested, whatever the wider bars over them say
        windows = span.clip(windows, self.horizon.first_open(Timeframe.M1), self.horizon.settled_end(Timeframe.M1))
        return [
            FetchPlan(str(instrument), symbols[instrument], Timeframe.M1, rows.select("start", "end").rows())
            for (instrument,), rows in windows.partition_by("instrument", as_dict=True).items()
        ]

    def _failed(self, plan: FetchPlan, error: VenueError) -> None:
        self.report.problems[plan.instrument] = str(error)
        self.errors[plan.instrument] = error
