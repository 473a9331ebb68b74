"""Fetching the bars of plans and writing them in bounded batches; fetching continues while a batch is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Self

import numpy as np
import polars as pl

from crypto_pipeline.healing.passes import HealingPass
from crypto_pipeline.healing.reports import Counts
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import merge_spans, subtract
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.store.bars.writer import WriteResult
from crypto_pipeline.venues import (
    BarsAnswer,
    FetchPlan,
    MalformedAnswer,
    SpanRefused,
    UnknownSymbol,
    Venue,
    VenueError,
    VenueUnavailable,
    invalid_data,
)

log = logging.getLogger(__name__)

#: So many other instruments are tried to tell whether the venue fails for one instrument alone.
_WITNESSES = 3


@dataclass(slots=True)
class FetchResult:
    """What the venue answered: the spans of its answers, and the holes in them."""

    answered: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    holes: list[pl.DataFrame] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    #: instruments for which the venue could not be asked, because it is down or has banned us
    unavailable: dict[str, str] = field(default_factory=dict)
    #: spans (instrument, start, end) of refused bars, or for which the venue answers with an error while it answers
    #: well for other instruments; and what it did, as the rest of a sentence
    refused: list[tuple[str, datetime, datetime, str]] = field(default_factory=list)

    def answered_spans(self) -> pl.DataFrame:
        """Spans that the venue answered for, merged."""
        return merge_spans(span.spans_from_rows(self.answered))

    def hole_spans(self) -> pl.DataFrame:
        """Spans that the venue answered without a bar, or with one that was refused, merged."""
        pages = span.spans_from_rows([each[:3] for each in self.refused])
        return merge_spans(pl.concat([span.empty_spans(), *self.holes, pages]))


async def fetch_bars(
    work: HealingPass,
    timeframe: Timeframe,
    plans: Sequence[FetchPlan],
    counts: Counts,
    *,
    stage: str | None = None,
    archive: bool = True,
    seen: Callable[[pl.DataFrame], None] | None = None,
    mark: BarOrigin | None = None,
    choose: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    witnesses: Mapping[str, str | None] = MappingProxyType({}),
) -> FetchResult:
    """Fetch all plans concurrently and write every bar. One instrument's failure never stops the others.

    ``stage`` names the progress (default: ``fetch 1m`` and so on). Without ``archive`` only REST is asked. ``seen``
    gets every frame of bars that the venue stated. ``mark`` is the source of the bars, if not the one that the venue's
    client gives them. ``choose`` returns the bars of an answer that are written; None: all. ``witnesses`` are
    instruments with their venue symbols: where nothing else was asked for, some of them tell whether the venue fails
    for one instrument or for all.
    """
    store, venue = work.store, work.venue
    result = FetchResult()
    errors: list[tuple[FetchPlan, VenueError]] = []

    total = sum(timeframe.count(start, end) for plan in plans for start, end in plan.spans)
    done = 0
    on_error = partial(_take_error, result, errors)
    async with _Batches(store, timeframe, counts, work.settings.write_batch_rows, result.refused) as writer:
        async for answer in venue.bars_many(list(plans), archive=archive, on_error=on_error):
            result.answered.append((answer.instrument, answer.start, answer.end))
            asked = timeframe.count(answer.start, answer.end)
            if answer.bars.height < asked:
                result.holes.append(_holes(answer))
            if answer.refused:
                result.refused += _refused(answer)
                await asyncio.to_thread(
                    store.bars_apart.refuse, venue.name, answer.instrument, timeframe, answer.refused
                )
            counts.fetched += answer.bars.height
            if seen is not None:
                seen(answer.bars)
            bars = answer.bars if choose is None else await asyncio.to_thread(choose, answer.bars)
            await writer.add(bars if mark is None else bars.with_columns(pl.lit(str(mark)).alias("source")))
            done += asked
            work.progress(stage or f"fetch {timeframe}", done, total)
    result.refused += await _failures_of_one(venue, errors, result, witnesses)
    return result


def _take_error(
    result: FetchResult, errors: list[tuple[FetchPlan, VenueError]], plan: FetchPlan, error: VenueError
) -> None:
    """Note the failure of one instrument; those that may be its own alone also in ``errors``."""
    result.failed[plan.instrument] = str(error)
    if isinstance(error, UnknownSymbol):
        result.unknown.add(plan.instrument)
    if isinstance(error, VenueUnavailable):
        result.unavailable[plan.instrument] = str(error)
    if isinstance(error, MalformedAnswer):  # only its page failed; the plan's other pages are fetched
        why = f"does not answer for it: {error}" if isinstance(error, SpanRefused) else invalid_data(str(error))
        result.refused += [(plan.instrument, *page, why) for page in plan.spans]
    elif error.permanent or isinstance(error, VenueUnavailable):
        errors.append((plan, error))
    log.warning("%s %s: %s", plan.instrument, plan.timeframe, error)


async def _failures_of_one(
    venue: Venue,
    errors: list[tuple[FetchPlan, VenueError]],
    result: FetchResult,
    witnesses: Mapping[str, str | None],
) -> list[tuple[str, datetime, datetime, str]]:
    """Spans that failed for one instrument alone: with a permanent error, or while the venue answers for others.

    Nothing is returned while the venue answers for none: it is asked again as soon as it does.
    """
    others = [symbol for name, symbol in witnesses.items() if symbol is not None and name not in result.failed]
    unavailable = any(isinstance(error, VenueUnavailable) for _, error in errors)
    answers = unavailable and (await venue.status()).reachable
    answers = answers and (bool(result.answered) or await _answers_for(venue, others))
    failures = []
    for plan, error in errors:
        if isinstance(error, VenueUnavailable) and not answers:
            continue
        asked = span.spans_from_rows([(plan.instrument, *bounds) for bounds in plan.spans])
        left = subtract(asked, result.answered_spans())
        failures += [
            (*row, f"answers for it with an error: {error}") for row in left.select(*span.SPAN_SCHEMA).iter_rows()
        ]
    return failures


async def _answers_for(venue: Venue, symbols: Sequence[str]) -> bool:
    """Whether the venue answers for any of the first few symbols."""
    for symbol in symbols[:_WITNESSES]:
        try:
            await venue.last_bar(symbol)
        except VenueError as error:
            log.info("%s: no answer for %s either: %s", venue.name, symbol, error)
        else:
            return True
    return False


def _refused(answer: BarsAnswer) -> list[tuple[str, datetime, datetime, str]]:
    """The refused bars of an answer that it did not state otherwise: (instrument, start, end, what the venue did)."""
    stated = set(answer.bars["open_time"].to_list()) if answer.refused else set()
    spans = []
    for one in answer.refused:
        if one.ms is None:
            continue
        start = answer.timeframe.floor(from_unix_ms(one.ms))
        if answer.start <= start < answer.end and start not in stated:
            because = invalid_data(one.why)
            spans.append((answer.instrument, start, start + answer.timeframe.delta, because))
    return spans


def _holes(answer: BarsAnswer) -> pl.DataFrame:
    """Spans of the answer without a bar. Bars of an answer are in order, so the holes are the jumps between them.

    In numpy, because it runs on the event loop, where setting up a query would delay every other answer.
    """
    width = answer.timeframe.milliseconds
    first, last = unix_ms(answer.start), unix_ms(answer.end)
    edges = np.concatenate([[first - width], answer.bars["open_time"].to_physical().to_numpy(), [last]])
    jumps = np.flatnonzero(np.diff(edges) > width)
    if not len(jumps):
        return span.empty_spans()
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what waits, also where the pass fails or is stopped."""
        await self.flush()

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
                (name, at, at + self._timeframe.delta, invalid_data(why)) for name, at, why in result.refused
            ]
            self._writing = None
