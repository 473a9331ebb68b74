"""Cuts plans into requests: archive files for long spans, REST pages for the rest and for bars absent in files."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues.binance.archive import ArchivedBars, BinanceArchive, SpanPart, days_of, pieces
from crypto_pipeline.venues.client.bar_jobs import clip_spans, page_spans
from crypto_pipeline.venues.client.prefetch import Job, prefetch
from crypto_pipeline.venues.client.responses import NotFound
from crypto_pipeline.venues.protocol import BarsAnswer, FetchPlan, MalformedAnswer, RejectedRow, VenueUnavailable

log = logging.getLogger(__name__)

#: Greatest number of rows of one REST answer.
PAGE = 1000

#: Requests one REST page of ``[start, end)``: its bars, the rejected rows, and the venue's time of the answer.
Pager = Callable[[FetchPlan, datetime, datetime], Awaitable[tuple[pl.DataFrame, list[RejectedRow], datetime]]]


class BarRequests:
    """Makes the jobs of plans; the answers of a plan's jobs, in order, cover its spans."""

    def __init__(self, page: Pager, archive: BinanceArchive, archive_min: timedelta) -> None:
        self._page = page
        self._archive = archive
        self._archive_min = archive_min

    def jobs(self, key: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[Job[int, list[BarsAnswer]]]:
        """Jobs of one plan in time order, up to the last bar that has ended by ``settled`` (UTC)."""
        for start, end in clip_spans(plan, settled):
            long = archive and end - start >= self._archive_min
            cut = pieces(plan.timeframe, start, end, PAGE) if long else iter([SpanPart("rest", start, end)])
            yield from self._of_pieces(key, plan, cut)

    def _of_pieces(self, key: int, plan: FetchPlan, cut: Iterable[SpanPart]) -> Iterator[Job[int, list[BarsAnswer]]]:
        for piece in cut:
            if piece.kind == "rest":
                for start, end in page_spans(plan.timeframe, piece.start, piece.end, PAGE):
                    yield Job(key, PAGE, partial(self._window, plan, start, end), (start, end))
            else:
                rows = plan.timeframe.count(piece.start, piece.end)
                yield Job(key, rows, partial(self._file, plan, piece), (piece.start, piece.end))

    async def _window(self, plan: FetchPlan, start: datetime, end: datetime) -> list[BarsAnswer]:
        """One REST window of at most PAGE bars."""
        frame, refused, stated_at = await self._page(plan, start, end)
        frames = [frame]
        # Fewer rows than the limit mean a gap at the end or an incomplete page: only another request can show which.
        cursor = start
        while (upcoming := _after(frame, refused, plan.timeframe, cursor, end)) is not None and upcoming < end:
            cursor = upcoming
            frame, more, _ = await self._page(plan, cursor, end)
            frames.append(frame)
            refused = [*refused, *more]
        bars = frames[0] if len(frames) == 1 else pl.concat(frames)
        return [BarsAnswer(plan.instrument, plan.timeframe, start, end, bars, stated_at, "rest", tuple(refused))]

    async def _file(self, plan: FetchPlan, piece: SpanPart) -> list[BarsAnswer]:
        """The bars of one archive file, or from REST if the file does not exist or is corrupt."""
        try:
            file = await self._archive.fetch(plan, piece)
        except NotFound:
            parts = days_of(piece, plan.timeframe, PAGE) if piece.kind == "monthly" else None
            return await self._all(plan, parts or [SpanPart("rest", piece.start, piece.end)])
        except (MalformedAnswer, VenueUnavailable) as error:
            log.warning("%s; using REST instead", error)
            return await self._all(plan, [SpanPart("rest", piece.start, piece.end)])
        # rejected rows of the file leave a gap, which is requested from REST
        answers = list(_whole_windows(plan, piece, file))
        holes = [SpanPart("rest", start, end) for start, end in _between(piece, answers)]
        # The file lacks these bars: they do not exist, or only REST has them.
        answers.extend(await self._all(plan, holes))
        answers.sort(key=lambda answer: answer.start)
        if file.refused and answers:
            answers[0] = replace(answers[0], refused=(*answers[0].refused, *file.refused))
        return answers

    async def _all(self, plan: FetchPlan, cut: Iterable[SpanPart]) -> list[BarsAnswer]:
        answers: list[BarsAnswer] = []
        jobs = self._of_pieces(0, plan, cut)
        async for several in prefetch(jobs, max_jobs=8, max_rows=50 * PAGE):
            answers.extend(several)
        return answers


def _after(
    frame: pl.DataFrame, refused: list[RejectedRow], timeframe: Timeframe, cursor: datetime, end: datetime
) -> datetime | None:
    """Start of the next request after a page that began at ``cursor``; None if the page was empty."""
    told = [] if frame.is_empty() else [frame.item(-1, "open_time")]
    told += [timeframe.floor(from_unix_ms(one.ms)) for one in refused if one.ms is not None]
    beyond = [one + timeframe.delta for one in told if cursor <= one < end]
    return max(beyond, default=None)


def _whole_windows(plan: FetchPlan, piece: SpanPart, file: ArchivedBars) -> Iterator[BarsAnswer]:
    """Answers for the spans of a file that have all their bars, as few as possible."""
    if file.bars.height == plan.timeframe.count(piece.start, piece.end):
        yield BarsAnswer(plan.instrument, plan.timeframe, piece.start, piece.end, file.bars, file.modified, "archive")
        return
    times = file.bars.get_column("open_time").to_physical().to_numpy()  # a query of Polars per window costs far more
    begin: datetime | None = None
    for start, end in [*page_spans(plan.timeframe, piece.start, piece.end, PAGE), (piece.end, piece.end)]:
        low, high = times.searchsorted([unix_ms(start), unix_ms(end)]).tolist()
        if start < end and high - low == plan.timeframe.count(start, end):
            begin = start if begin is None else begin
        elif begin is not None:
            first = int(times.searchsorted(unix_ms(begin)))
            bars = file.bars.slice(first, low - first)
            yield BarsAnswer(plan.instrument, plan.timeframe, begin, start, bars, file.modified, "archive")
            begin = None


def _between(piece: SpanPart, answers: list[BarsAnswer]) -> Iterator[tuple[datetime, datetime]]:
    cursor = piece.start
    for answer in answers:
        if cursor < answer.start:
            yield cursor, answer.start
        cursor = answer.end
    if cursor < piece.end:
        yield cursor, piece.end
