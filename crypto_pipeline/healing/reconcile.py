"""Reconciliation: our roll-up against the venue's own bars, because wrong minutes look complete to a gap detector.

A disagreement is written down with both values, the 1m bars under it are asked for again, and then it is either settled
(the venue had corrected its minutes, or ours were damaged) or stays disputed (the venue contradicts itself).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.healing.collect import collect
from crypto_pipeline.healing.failover import Failover
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import Counts, Progress, ReconcileReport, silent
from crypto_pipeline.healing.rolling import roll
from crypto_pipeline.healing.verify import LOWER
from crypto_pipeline.market.bars import BAR_SCHEMA, FAILOVER, Source, empty_bars
from crypto_pipeline.market.gaps import merge_spans, to_spans
from crypto_pipeline.market.reconciliation import Disagreement, compare_bars
from crypto_pipeline.market.rollup import roll_up
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import FetchPlan, Venue, VenueError

KIND = "rollup_vs_venue"


class Reconciler:
    """One reconciliation of some instruments over some span."""

    def __init__(
        self,
        store: Store,
        venue: Venue,
        settings: Settings,
        horizon: Horizon,
        known: pl.DataFrame,
        progress: Progress,
        failover: Failover,
    ) -> None:
        self.failover = failover
        self.store, self.venue, self.settings, self.horizon, self.progress = store, venue, settings, horizon, progress
        self.known = known.drop_nulls("venue_symbol")
        self.report = ReconcileReport()

    async def run(
        self, start: datetime, end: datetime, timeframes: Sequence[Timeframe], *, reread: bool
    ) -> ReconcileReport:
        """Compare, refetch what disagrees, roll up again, and settle or dispute."""
        if self.failover.down is not None:
            self.report.problems |= dict.fromkeys(self.known["instrument"], self.failover.down)
            return self.report
        if reread:
            await self._refetch(self._all(Timeframe.M1, start, end), "read again")
            await asyncio.to_thread(self._roll, start, end)
        for timeframe in timeframes:
            begin, until = self.horizon.clip(timeframe, start, end)
            if begin < until and timeframe in self.venue.traits.timeframes:
                await self._reconcile(timeframe, begin, until)
        return self.report

    async def _reconcile(self, timeframe: Timeframe, start: datetime, end: datetime) -> None:
        substituted = self.store.failovers.open(self.venue.name, reason="disputed")["failover_id"].to_list()
        found, theirs = await self._compare(timeframe, start, end)
        suspects = found.filter(pl.col("kind") != str(Disagreement.ONLY_OURS))
        self.report.disagreed += found.height
        if found.height:
            self._record(timeframe, found)
        if suspects.height:
            fresh = await self._refetch(self._windows(timeframe, suspects), f"refetch under {timeframe}")
            await asyncio.to_thread(self._roll, start, end)
            found = await asyncio.to_thread(self._judge, timeframe, found, theirs, fresh)
        disputed = self._settle(timeframe, start, end, found)
        if disputed.height and self.failover.possible:
            windows = merge_spans(to_spans(disputed.select("instrument", "open_time"), timeframe))
            if await self.failover.substitute(windows, self.horizon):
                await asyncio.to_thread(self._roll, start, end)
        await asyncio.to_thread(self.failover.tell_disputes, substituted)

    async def _compare(self, timeframe: Timeframe, start: datetime, end: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Disagreements of the span, and the venue's bars of the windows concerned."""
        differing: list[pl.DataFrame] = []
        stated: list[pl.DataFrame] = [empty_bars()]
        compared, total = 0, timeframe.count(start, end) * self.known.height
        plans = self._all(timeframe, start, end)
        async for answer in self.venue.bars_many(plans, archive=True, on_error=self._failed):
            ours = await asyncio.to_thread(
                self.store.reader.read, [answer.instrument], timeframe, answer.start, answer.end
            )
            found = self._own(answer.instrument, timeframe, ours, answer.bars)
            compared += answer.bars.height
            self.progress(f"compare {timeframe}", compared, total)
            if found.height:
                differing.append(found)
                stated.append(answer.bars.join(found, on="open_time", how="semi"))
        self.report.compared[str(timeframe)] = self.report.compared.get(str(timeframe), 0) + compared
        return pl.concat(differing) if differing else _nothing(), pl.concat(stated)

    def _own(self, instrument: str, timeframe: Timeframe, ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
        """Compare what we made ourselves: a bar that we took from the venue agrees with it by nature, one of another
        venue waits for its own, a window that the ledger still counts as missing is the gap filler's matter."""
        made = ours.filter(~pl.col("source").is_in([str(Source.VENUE_HISTORICAL), *map(str, FAILOVER)]))
        comparable = theirs.join(made, on="open_time", how="semi")
        return compare_bars(made.select(*BAR_SCHEMA), comparable).with_columns(pl.lit(instrument).alias("instrument"))

    def _judge(
        self, timeframe: Timeframe, found: pl.DataFrame, theirs: pl.DataFrame, fresh: pl.DataFrame
    ) -> pl.DataFrame:
        """What still disagrees after the refetch; minutes that the venue now states consistently become the verdict."""
        left = self._still(timeframe, found, theirs)
        if left.is_empty() or fresh.is_empty():
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
        self.store.bars.write(verdict.with_columns(pl.lit(str(Source.RECONCILED)).alias("source")), Timeframe.M1)
        self._roll(proven["open_time"].min(), proven["open_time"].max() + timeframe.delta)  # type: ignore[operator,arg-type]
        return self._still(timeframe, left, theirs)

    def _still(self, timeframe: Timeframe, found: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
        parts = [_nothing()]
        for (instrument,), rows in found.partition_by("instrument", as_dict=True).items():
            first, last = rows.select(pl.col("open_time").min(), pl.col("open_time").max().alias("last")).row(0)
            ours = self.store.reader.read([str(instrument)], timeframe, first, last + timeframe.delta)
            mine = ours.join(rows, on="open_time", how="semi")
            stated = theirs.filter(pl.col("instrument") == instrument)
            parts.append(self._own(str(instrument), timeframe, mine, stated))
        return pl.concat([part.select(_nothing().columns) for part in parts])

    async def _refetch(self, plans: list[FetchPlan], stage: str) -> pl.DataFrame:
        """Ask the venue for 1m bars again by REST and write them; returns what it stated."""
        kept: list[pl.DataFrame] = [empty_bars()]
        counts = Counts()
        # Verdicts need the venue's minutes beside ours; nobody judges a whole history at once.
        small = sum(Timeframe.M1.count(*one) for plan in plans for one in plan.spans) <= 200_000

        collected = await collect(
            self.store,
            self.venue,
            Timeframe.M1,
            plans,
            counts,
            lambda _, done, total: self.progress(stage, done, total),
            batch_rows=self.settings.write_batch_rows,
            archive=False,
            seen=kept.append if small else None,
        )
        self.report.superseded += counts.superseded
        self.report.problems.update(collected.failed)
        return pl.concat(kept)

    def _roll(self, start: datetime, end: datetime) -> None:
        for timeframe, lower in LOWER.items():
            begin, until = self.horizon.clip(timeframe, start, end)
            roll(self.store, timeframe, lower, begin, until, self.known, self.horizon, Counts(), silent)

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

    def _settle(self, timeframe: Timeframe, start: datetime, end: datetime, left: pl.DataFrame) -> pl.DataFrame:
        """Rows of the span that no longer disagree are resolved; the others, which are returned, are disputed."""
        rows = self.store.reconciliations.open(
            timeframe=timeframe, instruments=self.known["instrument"].to_list(), start=start, end=end
        )
        if rows.is_empty():
            return rows
        remaining = rows.join(left, on=["instrument", "open_time"], how="semi")
        settled = rows.join(left, on=["instrument", "open_time"], how="anti").filter(
            ~pl.col("instrument").is_in(list(self.report.problems))
        )
        self.store.reconciliations.resolve(settled["reconciliation_id"].to_list())
        self.store.reconciliations.mark_disputed(remaining["reconciliation_id"].to_list())
        self.report.resolved += settled.height
        self.report.disputed += remaining.height
        return remaining

    def _all(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[FetchPlan]:
        begin, until = self.horizon.clip(timeframe, start, end)
        return [
            FetchPlan(instrument, symbol, timeframe, [(begin, until)])
            for instrument, symbol in self.known.select("instrument", "venue_symbol").iter_rows()
        ]

    def _windows(self, timeframe: Timeframe, found: pl.DataFrame) -> list[FetchPlan]:
        symbols = dict(self.known.select("instrument", "venue_symbol").iter_rows())
        windows = merge_spans(to_spans(found.select("instrument", "open_time"), timeframe))
        return [
            FetchPlan(str(instrument), symbols[instrument], Timeframe.M1, rows.select("start", "end").rows())
            for (instrument,), rows in windows.partition_by("instrument", as_dict=True).items()
        ]

    def _failed(self, plan: FetchPlan, error: VenueError) -> None:
        self.report.problems[plan.instrument] = str(error)


def _nothing() -> pl.DataFrame:
    values = pl.Struct({name: pl.Float64() for name in ("open", "high", "low", "close", "volume")})
    return pl.DataFrame(
        schema={
            "instrument": pl.String(),
            "open_time": BAR_SCHEMA["open_time"],
            "kind": pl.String(),
            "columns": pl.List(pl.String()),
            "ours": values,
            "theirs": values,
        }
    )
