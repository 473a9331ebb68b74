"""Warnings about questions that reach beyond what is collected, whose frames are short or empty for that reason."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.reading.query import Question
from crypto_pipeline.store import Store
from crypto_pipeline.store.database import fork_safety

#: Seconds for which the collected days are remembered.
_REMEMBER = 60.0
#: Bars among which the first recording of a span is looked for: more than four months of minutes.
_MOST_BARS = 200_000
#: A newest bar that ended longer ago is old; for wider bars three widths count where that is longer.
_OLD = timedelta(minutes=15)
_DAY = timedelta(days=1)


class SpanWarning(UserWarning):
    """The requested span reaches beyond what is collected or was recorded then, or the newest bars are old."""


class CollectedDays:
    """First and last day with bars of each instrument, read only where an answer is short. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """In a forked child: another thread may have held the lock."""
        self._lock = threading.Lock()
        self._known: dict[tuple[Timeframe, tuple[str, ...]], tuple[float, dict[str, tuple[date, date]]]] = {}

    def warn(self, asked: Question, frame: pl.DataFrame, stacklevel: int) -> None:
        """Warn where ``frame`` is short because its question reaches beyond what is collected."""
        if asked.as_of is not None:
            said = self._not_recorded_yet(asked, asked.as_of) if frame.is_empty() else None
            if said is not None:
                warnings.warn(said, SpanWarning, stacklevel=stacklevel + 1)
            return
        # a market with sessions has no bars at night; its instruments have no pair in their name
        if any("-" not in name for name in asked.instruments) or self._whole(asked, frame):
            return
        newest = frame["open_time"].max() if "open_time" in frame.columns else None
        days = self._days(asked)
        said = outside(asked, days, newest if isinstance(newest, datetime) else None, self._now(), self._expected)
        if said is not None:
            warnings.warn(said, SpanWarning, stacklevel=stacklevel + 1)

    def _not_recorded_yet(self, asked: Question, moment: datetime) -> str | None:
        """The warning about an empty answer whose bars were recorded after ``moment``; None: there are none today.

        Without Polars, in a forked child, nothing is looked up: the answer is the same, the warning is left out.
        """
        if fork_safety.without_polars():
            return None
        for name in asked.instruments[:3]:
            at = self._first_recording(asked, name)
            if at is not None and at <= moment:
                return None
            if at is not None:
                return (
                    f"nothing of this span was recorded by {moment:%Y-%m-%d %H:%M:%S}Z; the first {asked.timeframe} "
                    f"bars of {name} in it were recorded at {at:%Y-%m-%d %H:%M:%S}Z"
                )
        return None

    def _first_recording(self, asked: Question, name: str) -> datetime | None:
        """When a bar of ``name`` in the question's span was first recorded; None: there is no such bar."""
        days = self._days(asked).get(name)
        if days is None:
            return None
        width = asked.timeframe
        start = max(asked.start or midnight(days[0]), midnight(days[0]))
        end = min(
            asked.end or self._now(),
            midnight(days[1]) + timedelta(days=width.cell_days),
            start + _MOST_BARS * width.delta,
        )
        if start >= end:
            return None
        read = self._store.reader
        bars = read.read([name], width, start, end, complete=asked.final_only, columns=("recorded_at",))
        replaced = read.revisions([name], width, start, end)
        moments = [frame["recorded_at"].min() for frame in (bars, replaced)]
        return min((at for at in moments if isinstance(at, datetime)), default=None)

    def _whole(self, asked: Question, frame: pl.DataFrame) -> bool:
        """Whether the frame has as many bars as there can be, and a new one where the newest were requested."""
        many = len(asked.instruments)
        if asked.start is None:
            enough = frame.height == many * (asked.last or 0)
        else:
            until = asked.end or self._now()
            # the newest bar may not be stored yet
            enough = frame.height >= many * (asked.timeframe.count(asked.start, until) - 2)
        if not enough or asked.end is not None or "open_time" not in frame.columns:
            return enough
        newest = frame["open_time"].max()
        return isinstance(newest, datetime) and self._now() - newest < _allowed(asked.timeframe)

    def _expected(self, timeframe: Timeframe, instruments: Sequence[str]) -> Mapping[str, date]:
        return self._store.coverage.first_expected(timeframe, instruments)

    def _now(self) -> datetime:
        return self._store.clock.lately()

    def _days(self, asked: Question) -> Mapping[str, tuple[date, date]]:
        key, now = (asked.timeframe, asked.instruments), time.monotonic()
        with self._lock:
            known = self._known.get(key)
        if known is None or now - known[0] > _REMEMBER:
            known = now, self._store.coverage.collected(asked.timeframe, asked.instruments)
            with self._lock:
                if len(self._known) > 1_000:
                    self._known.clear()
                self._known[key] = known
        return known[1]


def _allowed(timeframe: Timeframe) -> timedelta:
    return timeframe.delta + max(_OLD, 3 * timeframe.delta)


def outside(
    asked: Question,
    days: Mapping[str, tuple[date, date]],
    newest: datetime | None,
    now: datetime,
    expected: Callable[[Timeframe, Sequence[str]], Mapping[str, date]],
) -> str | None:
    """The warning about a question whose answer's newest bar opened at ``newest``; None: there is none.

    ``days`` are the first and last day with bars of the instruments that have any; ``expected`` gives the first day of
    which bars are expected.
    """
    without = [name for name in asked.instruments if name not in days]
    if without:
        return f"no {asked.timeframe} bars of {_some(without)} are collected yet: is `crypto-pipeline up` running?"
    start, until = asked.start, min(asked.end or now, now)
    late = [name for name in asked.instruments if start is not None and start.date() < days[name][0]]
    if start is not None and late:
        first = min(days[name][0] for name in late)
        said = f"asked from {start:%Y-%m-%d %H:%M}Z, but {asked.timeframe} bars of {_some(late)} are "
        since = min(expected(asked.timeframe, late).values(), default=first)
        if since < first:
            return f"{said}expected from {since} on and there from {first} on: `crypto-pipeline gaps` says why"
        return f"{said}collected from {first} on: the setting `days` says how much history is"
    if asked.end is None and newest is not None and now - newest >= _allowed(asked.timeframe):
        names = _some(list(asked.instruments))
        return (
            f"the newest {asked.timeframe} bar of {names} opened at {newest:%Y-%m-%d %H:%M}Z, long ago: "
            "is `crypto-pipeline up` running?"
        )
    width = timedelta(days=asked.timeframe.cell_days)
    ended = [name for name in asked.instruments if midnight(days[name][1]) + _DAY + width <= until]
    if ended and (start is not None or asked.end is None):
        last = max(days[name][1] for name in ended)
        return (
            f"asked to {until:%Y-%m-%d %H:%M}Z, but the newest {asked.timeframe} bars of {_some(ended)} are of "
            f"{last}: is `crypto-pipeline up` running?"
        )
    return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
