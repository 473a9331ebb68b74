"""Fetch what a plan asks for and write it in bounded batches, fetching on while a batch is being written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import polars as pl

from crypto_pipeline.healing import span_frames as span
from crypto_pipeline.healing.reports import Counts, Progress
from crypto_pipeline.market.bars import Source
from crypto_pipeline.market.gaps.arithmetic import merge_spans, subtract
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.bars.writer import WriteResult
from crypto_pipeline.venues import (
    BarsAnswer,
    FetchPlan,
    MalformedAnswer,
    UnknownSymbol,
    Venue,
    VenueError,
    VenueUnavailable,
    cannot_be,
)

log = logging.getLogger(__name__)

#: So many others are asked whether the venue fails for one instrument alone.
_WITNESSES = 3


@dataclass(slots=True)
class Collected:
    """What the venue answered: spans it spoke about, and the holes in its answers."""

    answered: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    holes: list[pl.DataFrame] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    #: instruments about which the venue could not be asked, as it is down or has banned us
    unavailable: dict[str, str] = field(default_factory=dict)
    #: spans (instrument, start, end) of which the venue stated something that is not believed, or for which it answers
    #: this instrument with an error and others well; with what it did, as the rest of a sentence
    refused: list[tuple[str, datetime, datetime, str]] = field(default_factory=list)

    def answered_spans(self) -> pl.DataFrame:
        """Spans that the venue answered for, merged."""
        return merge_spans(span.spans(self.answered))

    def hole_spans(self) -> pl.DataFrame:
        """Spans that the venue answered without stating a bar that is believed, merged."""
        pages = span.spans([each[:3] for each in self.refused])
        return merge_spans(pl.concat([span.no_spans(), *self.holes, pages]))


async def collect(
    store: Store,
    venue: Venue,
    timeframe: Timeframe,
    plans: Sequence[FetchPlan],
    counts: Counts,
    progress: Progress,
    *,
    batch_rows: int,
    archive: bool = True,
    seen: Callable[[pl.DataFrame], None] | None = None,
    mark: Source | None = None,
    choose: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    witnesses: Mapping[str, str | None] = MappingProxyType({}),
) -> Collected:
    """Fetch all plans concurrently and write every bar. One instrument's failure never stops the others.

    ``seen`` is shown every frame of bars that the venue stated. ``mark`` is what the bars are called, if not by the
    name that the venue's client gives them. ``choose`` says which of an answer's bars are written; None: all.
    ``witnesses`` are instruments with their venue symbols: where nothing else was asked for, some of them tell whether
    the venue fails for one instrument or for all.
    """
    collected = Collected()

    own: list[tuple[FetchPlan, VenueError]] = []

    def failed(plan: FetchPlan, error: VenueError) -> None:
        collected.failed[plan.instrument] = str(error)
        if isinstance(error, UnknownSymbol):
            collected.unknown.add(plan.instrument)
        if isinstance(error, VenueUnavailable):
            collected.unavailable[plan.instrument] = str(error)
        if isinstance(error, MalformedAnswer):  # its page alone; the plan's other pages are fetched
            collected.refused += [(plan.instrument, *clipped, cannot_be(str(error))) for clipped in plan.spans]
        elif error.permanent or isinstance(error, VenueUnavailable):
            own.append((plan, error))
        log.warning("%s %s: %s", plan.instrument, plan.timeframe, error)

    total = sum(timeframe.count(start, end) for plan in plans for start, end in plan.spans)
    done = 0
    writer = _Batches(store, timeframe, counts, batch_rows, collected.refused)
    async for answer in venue.bars_many(list(plans), archive=archive, on_error=failed):
        collected.answered.append((answer.instrument, answer.start, answer.end))
        asked = timeframe.count(answer.start, answer.end)
        if answer.bars.height < asked:
            collected.holes.append(_holes(answer))
        if answer.refused:
            collected.refused += _refused(answer)
            await asyncio.to_thread(store.bars_apart.refuse, venue.name, answer.instrument, timeframe, answer.refused)
        counts.fetched += answer.bars.height
        if seen is not None:
            seen(answer.bars)
        bars = answer.bars if choose is None else await asyncio.to_thread(choose, answer.bars)
        await writer.add(bars if mark is None else bars.with_columns(pl.lit(str(mark)).alias("source")))
        done += asked
        progress(f"fetch {timeframe}", done, total)
    await writer.flush()
    collected.refused += await _failed_alone(venue, own, collected, witnesses)
    return collected


async def _failed_alone(
    venue: Venue,
    own: list[tuple[FetchPlan, VenueError]],
    collected: Collected,
    witnesses: Mapping[str, str | None],
) -> list[tuple[str, datetime, datetime, str]]:
    """What of plans failed for the instrument's own sake: with an error for good, or while the venue answers others.

    Of a venue that is down for all nothing is said: it is asked again as soon as it answers.
    """
    others = [symbol for name, symbol in witnesses.items() if symbol is not None and name not in collected.failed]
    unavailable = any(isinstance(error, VenueUnavailable) for _, error in own)
    answers = unavailable and (await venue.status()).reachable
    answers = answers and (bool(collected.answered) or await _answers_for(venue, others))
    found = []
    for plan, error in own:
        if isinstance(error, VenueUnavailable) and not answers:
            continue
        asked = span.spans([(plan.instrument, *bounds) for bounds in plan.spans])
        left = subtract(asked, collected.answered_spans())
        found += [
            (*row, f"answers for it with an error: {error}") for row in left.select(*span.SPAN_SCHEMA).iter_rows()
        ]
    return found


async def _answers_for(venue: Venue, symbols: Sequence[str]) -> bool:
    """Whether the venue has an answer for any of some symbols."""
    for symbol in symbols[:_WITNESSES]:
        try:
            await venue.last_bar(symbol)
        except VenueError as error:
            log.info("%s: no answer for %s either: %s", venue.name, symbol, error)
        else:
            return True
    return False


def _refused(answer: BarsAnswer) -> list[tuple[str, datetime, datetime, str]]:
    """Bars that the answer stated in a way that cannot be, and that it did not state otherwise."""
    stated = set(answer.bars["open_time"].to_list()) if answer.refused else set()
    found = []
    for one in answer.refused:
        if one.ms is None:
            continue
        start = answer.timeframe.floor(datetime.fromtimestamp(one.ms / 1000, UTC))
        if answer.start <= start < answer.end and start not in stated:
            because = cannot_be(one.why)
            found.append((answer.instrument, start, start + answer.timeframe.delta, because))
    return found


def _holes(answer: BarsAnswer) -> pl.DataFrame:
    """Spans of the answer without a bar. Bars of an answer are in order, so the jumps between them are all there is.

    In numpy: it runs on the event loop, where the set-up of a query on a thousand rows holds up every other answer.
    """
    width = answer.timeframe.milliseconds
    first, last = (round(moment.timestamp() * 1000) for moment in (answer.start, answer.end))
    edges = np.concatenate([[first - width], answer.bars["open_time"].to_physical().to_numpy(), [last]])
    jumps = np.flatnonzero(np.diff(edges) > width)
    holes = {"start": edges[jumps] + width, "end": edges[jumps + 1]}
    named = pl.DataFrame({"instrument": [answer.instrument] * len(jumps), **holes})
    return named.select(pl.col(name).cast(kind) for name, kind in span.SPAN_SCHEMA.items())


class _Batches:
    """Collects frames until a batch is full, then writes it in a thread while the next one fills."""

    def __init__(
        self,
        store: Store,
        timeframe: Timeframe,
        counts: Counts,
        rows: int,
        refused: list[tuple[str, datetime, datetime, str]],
    ) -> None:
        self._store, self._timeframe, self._counts, self._rows = store, timeframe, counts, rows
        self._refused = refused
        self._frames: list[pl.DataFrame] = []
        self._height = 0
        self._writing: asyncio.Task[WriteResult] | None = None

    async def add(self, bars: pl.DataFrame) -> None:
        if bars.is_empty():
            return
        self._frames.append(bars)
        self._height += bars.height
        if self._height >= self._rows:
            await self._start()

    async def flush(self) -> None:
        if self._frames:
            await self._start()
        await self._finish()

    async def _start(self) -> None:
        await self._finish()
        batch, self._frames, self._height = pl.concat(self._frames), [], 0
        self._writing = asyncio.create_task(asyncio.to_thread(self._store.bars.write, batch, self._timeframe))

    async def _finish(self) -> None:
        if self._writing is not None:
            result = await self._writing
            self._counts.add_write(result)
            self._refused += [
                (name, at, at + self._timeframe.delta, cannot_be(why)) for name, at, why in result.refused
            ]
            self._writing = None
