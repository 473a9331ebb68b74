"""The reader's answers through a cache. What each class of answers may be kept for is in DEFINITIONS §8."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.answer import Answer
from crypto_pipeline.reading.arguments import Moment
from crypto_pipeline.reading.cache import Cache, CacheStats
from crypto_pipeline.reading.query import Question, question
from crypto_pipeline.store.coordination.notifications import Changes, Series
from crypto_pipeline.store.reads.small_reads import FEW_BARS

if TYPE_CHECKING:
    from crypto_pipeline.reading.reader import Reader

#: Seconds an answer is believed without asking the database whether it holds, though no change was heard.
TTL_HOT, TTL_NORMAL, TTL_COLD = 120.0, 300.0, 600.0
_HOT = frozenset({"BTC", "ETH", "NVDA", "AAPL"})
_NORMAL = frozenset({"MSFT", "GOOGL", "AMZN", "META", "TSLA", "BNB", "SOL", "XRP"})


def time_to_live(instruments: Collection[str]) -> float:
    """Of an answer about these instruments: that of the one that must be freshest."""
    bases = {name.partition("-")[0] for name in instruments}
    if bases & _HOT:
        return TTL_HOT
    return TTL_NORMAL if bases & _NORMAL else TTL_COLD


class CachedReader:
    """As Reader, but ``bars`` and ``latest`` give an Answer: the frame, and since when it is known to be right.

    A kept answer is given only while a listening connection proves that it has heard of every change (a few hundred
    milliseconds of age), and none concerned it. Frames are shared: they must not be changed in place. Thread-safe; one
    computation at a time for equal questions; ``answer_async`` is for event loops.
    """

    def __init__(self, reader: Reader, most_bytes: int) -> None:
        self._reader = reader
        self._changes = Changes(reader.store.url)
        self._changes.start()
        self.cache = Cache(self._changes, most_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return attrgetter("cached"), (self._reader,)

    @property
    def stats(self) -> CacheStats:
        """How the cache did so far."""
        return self.cache.stats

    def bars(
        self,
        instruments: str | Sequence[str],
        timeframe: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        last: int | None = None,
        as_of: Moment | None = None,
        final_only: bool = True,
        columns: str | Sequence[str] | None = None,
        fill: str | None = None,
    ) -> Answer[pl.DataFrame]:
        """As ``Reader.bars``."""
        now = self._reader.now
        asked = question(instruments, timeframe, start, end, last, as_of, final_only, columns, fill, now=now)
        return self.answer(asked)

    def latest(
        self,
        instruments: str | Sequence[str] | None = None,
        timeframe: str = "1m",
        *,
        final_only: bool = True,
        columns: str | Sequence[str] | None = None,
    ) -> Answer[pl.DataFrame]:
        """As ``Reader.latest``."""
        chosen = self._reader.symbols() if instruments is None else instruments
        return self.bars(chosen, timeframe, last=1, final_only=final_only, columns=columns)

    def answer(self, asked: Question) -> Answer[pl.DataFrame]:
        """The answer to a question. What is forming now is always computed anew."""
        if not asked.final_only and asked.as_of is None:
            now = datetime.now(UTC)
            return Answer(self._reader.answer(asked), now)
        ttl = time_to_live(asked.instruments)
        kept = self.cache.peek(asked, ttl)
        if kept is not None:
            return kept
        return self.cache.get(
            asked,
            ttl,
            lambda: self.series(asked),
            lambda: _by_itself(self._reader.answer(asked)),
            lambda frame: int(frame.estimated_size()),
            (lambda: self.version(asked)) if asked.start is not None and asked.end is not None else None,
        )

    async def answer_async(self, asked: Question) -> Answer[pl.DataFrame]:
        """As ``answer``, for tasks of an event loop, which never waits: what has to be read is read in a thread."""
        if asked.final_only or asked.as_of is not None:
            kept = self.cache.peek(asked, time_to_live(asked.instruments))
            if kept is not None:
                return kept
        return await asyncio.to_thread(self.answer, asked)

    def version(self, asked: Question) -> str:
        """A text that is another whenever any bar of the question's span changed, whoever changed it."""
        series, timeframe = list(asked.instruments), asked.timeframe
        # flat bars go on from a bar before the span, and as far as bars come after it
        start, end = (None, None) if asked.fill else (asked.start, asked.end)
        return self._reader.store.coverage.version(timeframe, start, end, series)

    def series(self, asked: Question) -> Collection[Series]:
        """What has to stay as it is for the answer to hold."""
        timeframe = str(Timeframe(asked.timeframe))
        return [(timeframe, number) for number in self._reader.store.symbols.ids(asked.instruments).values()]

    def await_changes(self, timeout: float = 5.0) -> bool:
        """Wait until everything that is committed by now is known here; False when that took too long.

        For whoever has just written and now reads what they wrote.
        """
        return self._changes.await_proof(timeout)

    def close_listening(self) -> None:
        """Stop listening: from now on the database is asked each time whether an answer still holds."""
        self._changes.close()

    def close(self) -> None:
        """Stop listening, forget everything."""
        self.close_listening()
        self.cache.clear()


def _by_itself(frame: pl.DataFrame) -> pl.DataFrame:
    """A small frame may be a slice of what was read for many: kept, it would keep all of that."""
    if not 0 < frame.height <= FEW_BARS:
        return frame
    every = np.arange(frame.height)
    return pl.DataFrame([column.gather(every) for column in frame])
