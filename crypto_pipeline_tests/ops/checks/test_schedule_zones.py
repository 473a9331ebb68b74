"""A schedule of the reports is judged in the time zone of the reports, all others in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from crypto_pipeline.ops.checks.subjects.scheduled import _schedule_trouble, zone_of
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.operations.figures.dagster_facts import Instigator


def test_only_reports_have_a_zone_of_their_own() -> None:
    settings = load_settings(report_time_zone="Europe/Berlin")
    assert [zone_of(name, settings) for name in ("morning_report", "nightly_backup")] == ["Europe/Berlin", "UTC"]


@pytest.mark.parametrize(
    ("last", "now", "late"),
    [
        # the night in which clocks go forward: 23 hours lie between two reports
        (datetime(2026, 3, 28, 8, 0, tzinfo=UTC), datetime(2026, 3, 29, 6, 50, tzinfo=UTC), False),
        (datetime(2026, 3, 28, 8, 0, tzinfo=UTC), datetime(2026, 3, 29, 7, 10, tzinfo=UTC), True),
        # the night in which they go back: 25 hours
        (datetime(2026, 10, 24, 7, 0, tzinfo=UTC), datetime(2026, 10, 25, 7, 50, tzinfo=UTC), False),
        (datetime(2026, 10, 24, 7, 0, tzinfo=UTC), datetime(2026, 10, 25, 8, 10, tzinfo=UTC), True),
    ],
)
def test_it_is_late_by_the_clock_of_its_zone(last: datetime, now: datetime, late: bool) -> None:
    seconds = (now - last).total_seconds()
    one = Instigator("morning_report", "SCHEDULE", True, "0 9 * * *", 9e6, "SUCCESS", seconds, seconds)
    assert (_schedule_trouble(one, now, ZoneInfo("Europe/Berlin")) is not None) is late
