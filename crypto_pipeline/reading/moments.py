"""Times and lists in the forms in which people write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from crypto_pipeline.market.timeframes import parse_time, require_utc

Moment = datetime | date | str


def moment(value: Moment, name: str) -> datetime:
    """``value`` as a UTC datetime. Raises ValueError that names the argument."""
    try:
        if isinstance(value, datetime):
            return require_utc(value)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, str):
            return parse_time(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from None
    raise ValueError(f"{name}: give an aware datetime or ISO 8601 text, not {value!r}")


def optional(value: Moment | None, name: str) -> datetime | None:
    """As ``moment``; None stays None."""
    return None if value is None else moment(value, name)


def names(value: str | Sequence[str], what: str = "instruments") -> list[str]:
    """One name, or several, each once. Raises ValueError for anything else."""
    found = [value] if isinstance(value, str) else list(value)
    for name in found:
        if not isinstance(name, str):
            raise ValueError(f"{what}: give names as text, not {name!r}")
    if not found:
        raise ValueError(f"{what}: the list is empty; name at least one")
    return list(dict.fromkeys(found))


def span(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Both, or ValueError when nothing lies between."""
    if start >= end:
        raise ValueError(
            f"start {start.isoformat()} is not before end {end.isoformat()}: the span [start, end) is empty"
        )
    return start, end
