"""The reader's answers through a cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Protocol, Unpack

import numpy as np
import polars as pl

from crypto_pipeline.market.instruments import Refresh, refresh_class
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.answer import Answer
from crypto_pipeline.reading.arguments import Moment
from crypto_pipeline.reading.cache import Cache, CacheRequest, CacheStats
from crypto_pipeline.reading.query import BarOptions, LatestOptions, Question, question
from crypto_pipeline.reading.servers.read_servers import ReadServers
from crypto_pipeline.store.coordination.notifications import BarNotifications, Series
from crypto_pipeline.store.reads.small_reads import FEW_BARS

#: Seconds for which a cached answer is used without asking the database whether it still holds.
_SECONDS = {Refresh.HOT: 120.0, Refresh.NORMAL: 300.0, Refresh.COLD: 600.0}


def time_to_live(instruments: Collection[str]) -> float:
    """Seconds for which an answer about these instruments may be cached: the shortest time of them all."""
    return min(_SECONDS[refresh_class(name)] for name in instruments)


class AnswerSource(Protocol):
    """Computes what a CachedReader keeps."""

    def answer(self, asked: Question) -> pl.DataFrame:
        """The bars that a question asks for."""

    def version(self, asked: Question) -> str:
        """A text that changes whenever any bar of the question's span changes."""

    def symbol_ids(self, instruments: Sequence[str]) -> Collection[int]:
        """The database ids of instruments. Raises StoreError for an unknown one."""

    def symbols(self) -> list[str]:
        """Names of the active instruments."""

    def now(self) -> datetime:
        """The market's time, UTC."""


class CachedReader:
    """As Reader, but ``bars`` and ``latest`` give an Answer: the frame, and since when it is known to be right.

    A cached answer is given only while a listening connection proves that it has heard of every change (its age is a
    few hundred milliseconds), and no change concerned it. Frames are shared: do not change them in place. Thread-safe;
    equal questions are computed once at a time; ``answer_async`` is for event loops. ``source`` has this object as its
    attribute ``cached``, by which it is pickled.
    """

    def __init__(self, source: AnswerSource, url: str, most_bytes: int, servers: ReadServers | None = None) -> None:
        self._source = source
        self._changes = BarNotifications(url)
        self._changes.start()
        self._servers = servers
        if servers is not None:
            servers.count_changes = self._changes.count
        self.cache = Cache(self._changes, most_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return attrgetter("cached"), (self._source,)

    @property
    def stats(self) -> CacheStats:
        """The counts of the cache."""
        return self.cache.stats

    def bars(
        self,
        instruments: str | Sequence[str],
        timeframe: str,
        start: Moment | None = None,
        end: Moment | None = None,
        **options: Unpack[BarOptions],
    ) -> Answer[pl.DataFrame]:
        """As ``Reader.bars``, with the same options."""
        return self.answer(question(instruments, timeframe, start, end, now=self._source.now, **options))

    def latest(
        self,
        instruments: str | Sequence[str] | None = None,
        timeframe: str = "1m",
        **options: Unpack[LatestOptions],
    ) -> Answer[pl.DataFrame]:
        """As ``Reader.latest``, with the same options."""
        chosen = self._source.symbols() if instruments is None else instruments
        return self.bars(chosen, timeframe, last=1, **options)

    def answer(self, asked: Question) -> Answer[pl.DataFrame]:
        """The answer to a question. A question that is not ``cacheable`` is always computed."""
        if not asked.cacheable:
            now = datetime.now(UTC)
            return Answer(self._source.answer(asked), now)
        ttl = time_to_live(asked.instruments)
        kept = self.cache.peek(asked, ttl)
        if kept is not None:
            return kept
        request = CacheRequest(
            asked,
            ttl,
            lambda: self.series(asked),
            lambda: _copied_if_small(self._source.answer(asked)),
            lambda frame: int(frame.estimated_size()),
            (lambda: self._source.version(asked)) if asked.start is not None and asked.end is not None else None,
        )
        return self.cache.get(request)

    async def answer_async(self, asked: Question) -> Answer[pl.DataFrame]:
        """As ``answer``, for tasks of an event loop: what has to be read is read in a thread."""
        if asked.cacheable:
            kept = self.cache.peek(asked, time_to_live(asked.instruments))
            if kept is not None:
                return kept
        return await asyncio.to_thread(self.answer, asked)

    def version(self, asked: Question) -> str:
        """A text that changes whenever any bar of the question's span changes, whichever process changes it."""
        return self._source.version(asked)

    def series(self, asked: Question) -> Collection[Series]:
        """The series that the answer depends on."""
        timeframe = str(Timeframe(asked.timeframe))
        return [(timeframe, number) for number in self._source.symbol_ids(asked.instruments)]

    def await_changes(self, timeout: float = 5.0) -> bool:
        """Wait until every change that is committed by now is known here; False after ``timeout`` seconds.

        For callers that have just written and now read what they wrote: a replica answers them, and the plain reader,
        only once it contains it.
        """
        contained = self._servers is None or self._servers.contain_now()
        return self._changes.await_proof(timeout) and contained

    def pass_on(self, channel: str, told: Callable[[str | None], None]) -> None:
        """Call ``told`` with each notification of a channel of PostgreSQL, over the connection that listens anyway.

        As ``BarNotifications.pass_on``: in the listening thread, with None where some may have been missed.
        """
        self._changes.pass_on(channel, told)

    def heard_everything_until(self) -> float:
        """The newest moment (``time.monotonic``) before which all committed changes have been received."""
        return self._changes.heard_everything_until()

    def close_listening(self) -> None:
        """Stop listening: from now on every question asks the database whether the answer still holds."""
        self._changes.close()

    def close(self) -> None:
        """Stop listening and clear the cache."""
        self.close_listening()
        self.cache.clear()


def _copied_if_small(frame: pl.DataFrame) -> pl.DataFrame:
    """A copy of a small frame: it may be a slice of a large one, which the cache would keep in memory as a whole."""
    if not 0 < frame.height <= FEW_BARS:
        return frame
    every = np.arange(frame.height)
    return pl.DataFrame([column.gather(every) for column in frame])
