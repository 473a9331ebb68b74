"""Explaining absent bars: gather the evidence, rebuild bars that trades prove, write the reasons into the ledger."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import polars as pl

from crypto_pipeline.healing.fill.fetch import FetchResult
from crypto_pipeline.healing.fill.siblings import Siblings
from crypto_pipeline.healing.fill.trade_proof import Proofs, gather_proofs
from crypto_pipeline.healing.passes import HealingPass
from crypto_pipeline.healing.plan import OPEN_UNEXPLAINED
from crypto_pipeline.healing.reports import Counts, Progress
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.calendars import get_calendar
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import subtract
from crypto_pipeline.market.gaps.classification import GapState, GapVerdict, classify, verdict_frame
from crypto_pipeline.market.gaps.evidence import Evidence
from crypto_pipeline.market.gaps.first_bars import FirstBars
from crypto_pipeline.market.gaps.sessions import inside_sessions
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import ListingStatus

log = logging.getLogger(__name__)


#: Ledger states that follow from the listing alone.
OUTSIDE = (str(GapState.NOT_LISTED), str(GapState.DELISTED))
#: A span whose bar was refused, and what the venue did.
Refusal: TypeAlias = tuple[datetime, datetime, str]
_Outside: TypeAlias = tuple[str, datetime, datetime, GapState, str]


class Explainer:
    """Explains the holes of one timeframe."""

    def __init__(self, work: HealingPass, timeframe: Timeframe) -> None:
        self.store, self.venue, self.settings, self.horizon = work.store, work.venue, work.settings, work.horizon
        self.timeframe = timeframe
        self.instruments = {row["instrument"]: row for row in work.instruments.iter_rows(named=True)}
        self.calendars = work.calendars

    def outside_is_written(self, start: datetime, end: datetime, written: pl.DataFrame) -> bool:
        """Whether the ledger (its ``written`` rows of OUTSIDE states) says just what the listings say."""
        rows = written.filter(pl.col("timeframe") == str(self.timeframe)).select("instrument", "state", "start", "end")
        should = (
            (name, str(state), since, until)
            for facts in self.instruments.values()
            for name, since, until, state, _ in self._outside(facts["instrument"], facts, start, end)
        )
        return _joined(rows.iter_rows(), start, end) == _joined(should, start, end)

    def outside_listing(self, start: datetime, end: datetime) -> None:
        """Write spans before the listing and after the delisting into the ledger: the venue is not asked for them.

        Spans of the ledger that are inside the listing by now (it changed since) become pending.
        """
        rows = [row for name, facts in self.instruments.items() for row in self._outside(name, facts, start, end)]
        stated = _ledger_rows(rows, self.timeframe)
        written = self.store.ledger.open(
            timeframe=self.timeframe, instruments=list(self.instruments), states=list(OUTSIDE), start=start, end=end
        )
        for state in OUTSIDE:
            should = stated.filter(pl.col("state") == state)
            have = written.filter(pl.col("state") == state).select(*span.SPAN_SCHEMA)
            # Whole rows are written again when they grow, so that a delisting stays one row however long ago it was.
            grown = subtract(should.select(*span.SPAN_SCHEMA), have)["instrument"].unique().to_list()
            self.store.ledger.record(should.filter(pl.col("instrument").is_in(grown)))
            wrong = subtract(span.clip(have, start, end), should.select(*span.SPAN_SCHEMA))
            back = [(*row, GapState.PENDING, "the venue lists it now") for row in wrong.iter_rows()]
            self.store.ledger.record(_ledger_rows(back, self.timeframe))

    def _outside(self, name: str, facts: dict[str, Any], start: datetime, end: datetime) -> Iterator[_Outside]:
        venue = self.venue.name
        if facts["venue_symbol"] is None:
            yield name, start, end, GapState.NOT_LISTED, f"{venue} does not list it"
            return
        first, delisted = self._first_bar(facts), facts["delisted"]
        if name in self.calendars:
            first, delisted = self._day_of_listing(name, first), self._day_of_delisting(name, delisted)
        if first is not None and (opens := self.timeframe.floor(first)) > start:
            because = f"{venue}: first {self.timeframe} bar at {first:%Y-%m-%d %H:%M} UTC"
            yield name, start, min(opens, end), GapState.NOT_LISTED, because
        if delisted is not None and (last := self.timeframe.ceil(delisted)) < end:
            since = max(last, start)
            yield name, since, end, GapState.DELISTED, f"{venue}: no bar since {delisted:%Y-%m-%d %H:%M} UTC"

    def _day_of_listing(self, name: str, first: datetime | None) -> datetime | None:
        """The first bar, or the midnight before it where no session of that day comes before the bar.

        What the ledger says of the night would else count as if it explained windows of the session.
        """
        if first is None:
            return None
        midnight = Timeframe.D1.floor(first)
        sessions = get_calendar(self.calendars[name]).spans(self.timeframe, midnight, self.timeframe.floor(first))
        return first if sessions else midnight

    def _day_of_delisting(self, name: str, delisted: datetime | None) -> datetime | None:
        """The delisting, or the midnight after it where no session of that day comes after it."""
        if delisted is None:
            return None
        midnight = Timeframe.D1.ceil(delisted)
        sessions = get_calendar(self.calendars[name]).spans(self.timeframe, self.timeframe.ceil(delisted), midnight)
        return delisted if sessions else midnight

    def _first_bar(self, facts: dict[str, Any]) -> datetime | None:
        """Open time of the first bar of this width: the venue may have wider bars before its first minute."""
        return FirstBars.read(facts["listed"], facts.get("first_bars")).expected(self.timeframe)

    async def explain(self, fetched: FetchResult, counts: Counts, progress: Progress) -> None:
        """Explain every hole of ``fetched``; bars that trades prove are written instead. Raises StoreError."""
        # extended hours are requested with the session, and are not expected
        holes = inside_sessions(fetched.hole_spans(), self.timeframe, self.calendars)
        if holes.is_empty():
            return
        proofs = Proofs()
        if self.timeframe is Timeframe.M1:
            proofs = await gather_proofs(self.venue, self.instruments, holes, progress)
            for name, rows in proofs.refused.items():
                await asyncio.to_thread(self.store.trades.refuse, self.venue.name, name, rows)
            if proofs.rebuilt.height:
                written = await asyncio.to_thread(self.store.bars.write, proofs.rebuilt, self.timeframe)
                counts.rebuilt_from_trades += written.inserted
                holes = subtract(holes, proofs.rebuilt_spans(self.timeframe))
        if holes.is_empty():
            return
        verdicts = await asyncio.to_thread(self._judge, holes, fetched, proofs)
        self.store.ledger.record(verdicts)
        explained = verdicts.filter(~pl.col("state").is_in(OPEN_UNEXPLAINED))
        counts.explained += span.bar_count(explained, self.timeframe)

    def _judge(self, holes: pl.DataFrame, fetched: FetchResult, proofs: Proofs) -> pl.DataFrame:
        start, end = holes.select(pl.col("start").min(), pl.col("end").max()).row(0)
        activity = self.store.audit.activity(self.timeframe, start, end).rename({"instruments": "active"})
        siblings = Siblings(self.store, self.venue.name, self.timeframe, start, end, fetched)
        earlier = self.store.ledger.open(
            timeframe=self.timeframe, instruments=holes["instrument"].unique().to_list(), states=list(OPEN_UNEXPLAINED)
        )
        answered = fetched.answered_spans()
        refusals: dict[str, list[Refusal]] = {}
        for instrument, since, until, why in fetched.refused:
            refusals.setdefault(instrument, []).append((since, until, why))
        frames = []
        for (name,), rows in holes.partition_by("instrument", as_dict=True).items():
            mine = earlier.filter(pl.col("instrument") == name)
            spoke = answered.filter(pl.col("instrument") == name)
            for _, start, end in rows.select(*span.SPAN_SCHEMA).iter_rows():
                for begin, until, because in split_at_refusals(start, end, refusals.get(str(name), [])):
                    if because is None:
                        frames.append(self._verdicts(str(name), begin, until, activity, siblings, mine, spoke, proofs))
                    else:
                        frames.append(self._refused(str(name), begin, until, mine, because))
        return self._scheduled(pl.concat(frames))

    def _verdicts(
        self,
        name: str,
        start: datetime,
        end: datetime,
        activity: pl.DataFrame,
        siblings: Siblings,
        earlier: pl.DataFrame,
        answered: pl.DataFrame,
        proofs: Proofs,
    ) -> pl.DataFrame:
        facts = self.instruments[name]
        if facts["status"] == str(ListingStatus.PAUSED) and end >= self.horizon.settled_end(self.timeframe):
            because = f"{self.venue.name} has halted trading of {facts['venue_symbol']}"
            halted = {"because": because, "rule": "halted", "status": facts["status"]}
            verdict = GapVerdict(start, end, GapState.VENUE_OUTAGE, halted)
            return verdict_frame(name, self.timeframe, [verdict]).with_columns(pl.lit(True).alias("attempted"))
        attempts, attempted = self._attempts(earlier, start, end)
        around = answered.filter((pl.col("start") <= start) & (pl.col("end") >= end))
        evidence = Evidence(
            settled_until=self.horizon.now - self.horizon.settle,
            attempts=attempts,
            max_attempts=self.settings.heal_attempts,
            listed=self._first_bar(facts),
            delisted=facts["delisted"],
            states_empty_bars=self.venue.traits.states_empty_bars,
            contiguous_trade_ids=self.venue.traits.contiguous_trade_ids,
            absence_is_silence=self.venue.traits.absence_is_silence,
            sibling_bars=activity,
            witnesses=siblings.of(name, start, end),
            venue_down=False,
            answered_before=not around.filter(pl.col("start") < start).is_empty(),
            answered_after=not around.filter(pl.col("end") > end).is_empty(),
            trades=proofs.of(name, start, end),
            own_rate=siblings.rate(name) if name in self.calendars else None,
        )
        verdicts = verdict_frame(name, self.timeframe, classify((start, end), self.timeframe, evidence))
        return verdicts.with_columns(pl.lit(attempted).alias("attempted"))

    def _refused(self, name: str, start: datetime, end: datetime, earlier: pl.DataFrame, said: str) -> pl.DataFrame:
        """The verdict on a refused bar, or on a span for which the venue answers with an error.

        It is requested again with pauses, at most ``heal_attempts`` times.
        """
        attempts, attempted = self._attempts(earlier, start, end)
        given_up = attempts >= self.settings.heal_attempts
        because = f"{self.venue.name} {said}"
        if given_up:
            because = f"{because}. {attempts} spaced attempts brought nothing else."
        state = GapState.UNFILLABLE if given_up else GapState.LOST
        verdict = GapVerdict(start, end, state, {"because": because, "rule": "refused", "attempts": attempts})
        return verdict_frame(name, self.timeframe, [verdict]).with_columns(pl.lit(attempted).alias("attempted"))

    def _attempts(self, earlier: pl.DataFrame, start: datetime, end: datetime) -> tuple[int, bool]:
        """How often the bars were requested, and whether this request counts.

        Attempts are spaced: a request by a person before the next attempt is due does not count.
        """
        before = earlier.filter((pl.col("start") < end) & (pl.col("end") > start))
        attempted = before.is_empty() or not (before["next_attempt"] > self.horizon.now).fill_null(False).all()
        return int(before.select(pl.col("attempts").max()).item() or 0) + (1 if attempted else 0), attempted

    def _scheduled(self, verdicts: pl.DataFrame) -> pl.DataFrame:
        """Add the time of the next attempt to each unexplained hole: each pause is four times the one before."""
        attempts = (
            pl.col("evidence").str.json_path_match("$.attempts").cast(pl.Int64, strict=False).fill_null(1).clip(1, 8)
        )
        backoff = (self.settings.heal_backoff * 1000 * 4.0 ** (attempts - 1)).cast(pl.Int64)
        again = (pl.lit(self.horizon.now, UTC_MS) + pl.duration(milliseconds=backoff)).cast(UTC_MS)
        soon = pl.lit(self.horizon.now + timedelta(minutes=1), UTC_MS)
        return verdicts.with_columns(
            pl.when(pl.col("state").is_in([str(GapState.LOST), str(GapState.UNPROVEN)]))
            .then(again)
            .when(pl.col("state") == str(GapState.PENDING))
            .then(soon)
            .alias("next_attempt")
        )


def split_at_refusals(
    start: datetime, end: datetime, refusals: list[Refusal]
) -> Iterator[tuple[datetime, datetime, str | None]]:
    """``[start, end)`` in time order, cut at the refusals; with what the venue did, or None outside of them."""
    cursor = start
    for since, until, why in sorted(refusals):
        since, until = max(since, cursor), min(until, end)
        if since >= until:
            continue
        if cursor < since:
            yield cursor, since, None
        yield since, until, why
        cursor = until
    if cursor < end:
        yield cursor, end, None


def _joined(
    rows: Iterable[tuple[str, str, datetime, datetime]], start: datetime, end: datetime
) -> list[tuple[str, str, datetime, datetime]]:
    """Spans by (instrument, state), cut to ``[start, end)``, with touching ones joined."""
    joined: list[tuple[str, str, datetime, datetime]] = []
    for name, state, since, until in sorted(rows):
        since, until = max(since, start), min(until, end)
        if since >= until:
            continue
        if joined and joined[-1][:2] == (name, state) and since <= joined[-1][3]:
            since, until = joined[-1][2], max(until, joined.pop()[3])
        joined.append((name, state, since, until))
    return joined


def _ledger_rows(rows: list[_Outside], timeframe: Timeframe) -> pl.DataFrame:
    """Rows for the ledger from (instrument, start, end, state, because)."""
    return span.spans_from_rows([row[:3] for row in rows]).with_columns(
        pl.lit(str(timeframe)).alias("timeframe"),
        pl.Series("state", [str(row[3]) for row in rows], dtype=pl.String),
        pl.Series("evidence", [json.dumps({"because": row[4]}) for row in rows], dtype=pl.String),
        pl.lit(None, UTC_MS).alias("next_attempt"),
    )
