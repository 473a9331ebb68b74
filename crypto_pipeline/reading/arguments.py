"""Times and lists in the forms in which people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from numbers import Real
from typing import Any

from crypto_pipeline.market.timeframes import parse_time, require_utc
from crypto_pipeline.market.times import midnight

Moment = datetime | date | str

_MICROSECOND = timedelta(microseconds=1)
#: A "+" that came through a URL without being escaped.
_LOST_PLUS = re.compile(r"(:\d{2}(?:\.\d+)?) (\d{2}:?\d{2})$")
#: Digits of a second that Python's times do not have.
_NANOSECONDS = re.compile(r"\.\d{6}(\d+)")
#: From here on a Unix time is one of milliseconds: in seconds it is the year 5138.
_MILLISECONDS = 10**11
_FORMS = "give an aware datetime, or ISO 8601 text such as 2026-01-31 or 2026-01-31T12:00Z"


def moment(value: Moment, name: str, *, up: bool = True) -> datetime:
    """``value`` (also of pandas, or text) as a UTC datetime. Raises ValueError that names the argument.

    Times finer than a microsecond are rounded ``up``, as both bounds of a span need it; otherwise down.
    """
    try:
        read, finer = _read(value)
        return read + _MICROSECOND if up and finer else read
    except OverflowError:
        raise ValueError(f"{name}: {value} is not within the years 1 to 9999 in UTC: give a time inside") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _read(value: Any) -> tuple[datetime, bool]:
    """The time, rounded down to microseconds, and whether it was finer."""
    if type(value) is datetime:  # the usual case
        return require_utc(value), False
    if isinstance(value, str):
        text = _LOST_PLUS.sub(r"\1+\2", value.strip())
        finer = _NANOSECONDS.search(text)
        return parse_time(text), finer is not None and finer.group(1).strip("0") != ""
    if str(value) in ("NaT", "nan"):
        raise ValueError(f"{value} is no time: leave it out, or {_FORMS}")
    if isinstance(value, datetime):
        # pandas' Timestamp is a datetime that is finer than a microsecond
        plain = datetime(
            value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond,
            value.tzinfo, fold=value.fold,
        )  # fmt: skip
        return require_utc(plain), getattr(value, "nanosecond", 0) > 0
    if isinstance(value, date):
        return midnight(value), False
    raise ValueError(_refusal(value))


def _refusal(value: Any) -> str:
    """What to write instead of something that is no time, or has no time zone."""
    kind = type(value).__name__
    if kind == "datetime64":
        fix = f"{value}Z" if "T" in str(value) else value.astype("datetime64[D]")
        return f"{value} has no time zone, as all of numpy's times: give '{fix}' if it is UTC"
    if isinstance(value, timedelta) or kind == "timedelta64":
        return f"{value} is a length of time: give a moment, for example reader.now() - timedelta(days=1)"
    if isinstance(value, Real) and kind != "bool":
        # a Unix time of this century, in seconds or in milliseconds
        seconds = f"{value} / 1000" if float(value) >= _MILLISECONDS else f"{value}"
        return f"{_FORMS}, not {value!r}; of a Unix time datetime.fromtimestamp({seconds}, UTC)"
    return f"{_FORMS}, not {value!r}"


def optional(value: Moment | None, name: str, *, up: bool = True) -> datetime | None:
    """As ``moment``; None stays None."""
    return None if value is None else moment(value, name, up=up)


def names(value: str | Sequence[str], what: str = "instruments") -> list[str]:
    """One name, or several, each once. Raises ValueError for anything else."""
    if isinstance(value, str):
        return [value]
    try:
        chosen = list(value)
    except TypeError:
        raise ValueError(f"{what}: give a name as text, or a list of names, not {value!r}") from None
    for name in chosen:
        if not isinstance(name, str):
            raise ValueError(f"{what}: give names as text, not {name!r}")
    if not chosen:
        raise ValueError(f"{what}: the list is empty; name at least one")
    return list(dict.fromkeys(chosen))


def span(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Both bounds; raises ValueError when the span is empty."""
    if start >= end:
        raise ValueError(
            f"start {start.isoformat()} is not before end {end.isoformat()}: the span [start, end) is empty"
        )
    return start, end
