"""Times: Unix milliseconds and datetimes, midnights, and months by number. Every datetime is aware and in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from crypto_pipeline.market.timeframes import require_utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def from_unix_ms(ms: int) -> datetime:
    """The UTC datetime of Unix milliseconds, exact."""
    return EPOCH + timedelta(milliseconds=ms)


def unix_ms(moment: datetime) -> int:
    """Whole Unix milliseconds of an aware datetime, rounded down. Raises TypeError for a naive one."""
    return (moment - EPOCH) // _MILLISECOND


def midnight(day: date) -> datetime:
    """00:00 UTC of a day; of an aware datetime, 00:00 UTC of the UTC day that holds it. ValueError for a naive one."""
    if isinstance(day, datetime):
        day = require_utc(day)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def month_number(day: date) -> int:
    """Months from January 1970 to the month of a date or UTC datetime."""
    return (day.year - 1970) * 12 + day.month - 1


def month_start(month: int) -> datetime:
    """00:00 UTC of the first day of a month, which is counted from January 1970."""
    return datetime(1970 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
