"""A question for bars, checked and normalised, so that equal questions are equal keys."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict, Unpack, get_args

from crypto_pipeline.market.corporate_actions.factors import Adjust, choose_adjust
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.arguments import Moment, names, optional, span
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.reads.queries import FIRST, LAST

Fill = Literal["flat"]
Sessions = Literal["all", "regular", "marked"]
SESSIONS: tuple[Sessions, ...] = get_args(Sessions)
#: The most bars that ``last`` may ask for.
MOST_LAST = 10_000_000
#: Columns of a frame unless others are requested; "all" is every one.
NARROW = (
    "instrument", "open_time", "open", "high", "low", "close", "volume", "trade_count", "source", "complete",
)  # fmt: skip
ALL = "all"
#: Length of a span without start and last: so many bars, but at least so long.
_DEFAULT_BARS, _DEFAULT_SPAN = 100, timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Question:
    """The checked arguments of ``Reader.bars``. ``end`` None is now, at every read; ``columns`` None is all."""

    instruments: tuple[str, ...]
    timeframe: Timeframe
    start: datetime | None
    end: datetime | None
    last: int | None
    as_of: datetime | None
    final_only: bool
    columns: tuple[str, ...] | None
    fill: Fill | None
    adjust: Adjust = "none"
    sessions: Sessions = "all"

    @property
    def with_forming(self) -> bool:
        """Whether the bar that is forming belongs to the answer."""
        return not self.final_only and self.as_of is None

    @property
    def cacheable(self) -> bool:
        """Whether the answer changes only with stored bars: not where it has a forming bar, or is adjusted."""
        return not self.with_forming and self.adjust == "none"


def _wall() -> datetime:
    return datetime.now(UTC)


def default_start(timeframe: Timeframe, until: datetime) -> datetime:
    """The begin of a span that ends at ``until`` and has none: a day before for minutes, more for wider bars."""
    return timeframe.floor(until - max(timeframe.delta * _DEFAULT_BARS, _DEFAULT_SPAN))


class LatestOptions(TypedDict, total=False):
    """The keyword arguments of ``Reader.latest``."""

    final_only: bool
    columns: str | Sequence[str] | None


class BarOptions(LatestOptions, total=False):
    """The keyword arguments of ``Reader.bars``, which explains them."""

    last: int | None
    as_of: Moment | None
    fill: str | None
    adjust: str
    sessions: str


def question(
    instruments: str | Sequence[str],
    timeframe: str,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    now: Callable[[], datetime] = _wall,
    **options: Unpack[BarOptions],
) -> Question:
    """The checked question. Raises ValueError that names the argument at fault.

    ``now`` gives the market's time where neither start, end nor last is given.
    """
    width = Timeframe.parse(timeframe)
    last, as_of, fill = options.get("last"), options.get("as_of"), options.get("fill")
    if start is not None and last is not None:
        raise ValueError("give either start, or last (the newest so many bars of each instrument), not both")
    if fill not in (None, "flat"):
        raise ValueError(f"fill: give 'flat' or leave it out, not {fill!r}")
    count = None if last is None else _count(last)
    begin, until = optional(start, "start"), optional(end, "end")
    if begin is not None and until is not None:
        span(begin, until)
    until = _inside(until)
    if begin is None and count is None:
        begin = default_start(width, now() if until is None else max(until, FIRST + timedelta(days=1000)))
    begin = _inside(begin)
    if begin is not None and until is not None and begin >= until:
        # both lie where there are no bars, on the same side
        begin, until = (FIRST, FIRST + width.delta) if until <= FIRST else (begin, begin + width.delta)
    return Question(
        tuple(names(instruments)), width, begin, until, count, optional(as_of, "as_of", up=False),
        bool(options.get("final_only", True)), _columns(options.get("columns")), "flat" if fill else None,
        choose_adjust(options.get("adjust", "none")), _sessions(options.get("sessions", "all"), count),
    )  # fmt: skip


def _inside(bound: datetime | None) -> datetime | None:
    """A bound near the ends of the calendar, where there are no bars, moved to where arithmetic does not overflow."""
    return None if bound is None else min(max(bound, FIRST), LAST)


def _count(last: Any) -> int:
    try:
        found = -1 if isinstance(last, bool) else operator.index(last)
    except TypeError:
        found = -1
    if not 1 <= found <= MOST_LAST:
        raise ValueError(f"last: give a whole number from 1 to {MOST_LAST:,}, not {last!r}")
    return found


def _sessions(value: object, last: int | None) -> Sessions:
    for each in SESSIONS:
        if value == each:
            if each == "regular" and last is not None:
                raise ValueError("sessions='regular' with last: give a start instead, or sessions='marked'")
            return each
    raise ValueError(f"sessions: give 'all', 'regular' or 'marked' (with a column extended), not {value!r}")


def _columns(columns: str | Sequence[str] | None) -> tuple[str, ...]:
    if columns is None:
        return NARROW
    if isinstance(columns, str) and columns == ALL:
        return tuple(READ_SCHEMA)
    return tuple(names(columns, "columns"))
