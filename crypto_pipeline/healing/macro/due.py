"""Which macro series are due for a request, and the next release of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from crypto_pipeline.market.macro.releases import ExpectedRelease, next_release
from crypto_pipeline.market.macro.series import find_series
from crypto_pipeline.market.macro.vintages import day_end
from crypto_pipeline.store import Store
from crypto_pipeline.store.macro.reads import MacroRow

#: A series is asked for whenever this has passed, and while a release is due whenever that has.
LOOK_EVERY, LOOK_FOR_RELEASE = timedelta(hours=6), timedelta(minutes=15)
#: A release is looked for so often until so long after its day; then it is missed, and asked for as usual.
_LOOKED_FOR = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class DueSeries:
    """A series to ask for, and why."""

    row: MacroRow
    reason: str


def expected_release(store: Store, row: MacroRow) -> ExpectedRelease | None:
    """The next release of the series; None where there is not enough data to tell."""
    if not row.frequency:
        return None
    prints, calendar = store.macro.first_prints(row.series_id), store.macro.release_dates(row.release_id)
    return next_release(prints, row.frequency, calendar, row.zone, find_series(row.name).lag_days)


def due_series(store: Store, now: datetime) -> list[DueSeries]:
    """The collected series to ask for at ``now`` (the market's time). After a failure only once its pause is over."""
    found = []
    for row in store.macro.series():
        if row.next_attempt is not None:
            reason = f"asked again after {row.attempts} failures" if row.next_attempt <= now else ""
        elif row.looked_at is None:
            reason = "never asked for"
        elif now - row.looked_at >= LOOK_EVERY:
            reason = f"last asked for at {row.looked_at:%Y-%m-%d %H:%M} UTC"
        elif now - row.looked_at >= LOOK_FOR_RELEASE and _is_released(store, row, now):
            reason = "a release is due"
        else:
            reason = ""
        if reason:
            found.append(DueSeries(row, reason))
    return found


def _is_released(store: Store, row: MacroRow, now: datetime) -> bool:
    """Whether the next release should be out by now, and is not given up yet."""
    expected = expected_release(store, row)
    if expected is None:
        return False
    end = day_end(expected.day, row.zone)
    known, begin = find_series(row.name), end - timedelta(days=1)
    if known.release_time is not None:
        local = datetime.combine(expected.day, known.release_time, ZoneInfo(known.release_zone))
        begin = local.astimezone(UTC)
    return begin <= now < end + _LOOKED_FOR
