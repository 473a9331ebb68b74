"""The reports of 09:00 and 17:00: one of each local date, in every zone and on both days on which clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.ops.reports.content import ReportName
from crypto_pipeline.ops.reports.times import HOURS, cron, due_at, local_date, newest_due, span_of

ZONES = sorted(name for name in available_timezones() if name not in ("localtime", "Factory"))
zones = st.sampled_from(ZONES)
days = st.dates(date(2024, 1, 1), date(2030, 12, 31))
reports = st.sampled_from(sorted(HOURS))


def ticks(report: ReportName, zone: str, start: datetime, count: int) -> list[datetime]:
    """The next moments at which Dagster's own iterator evaluates the schedule."""
    iterator = schedule_execution_time_iterator(start.timestamp(), cron(report), zone, ascending=True)
    return [next(iterator) for _ in range(count)]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", date(2026, 3, 29)),
        ("Europe/Berlin", date(2026, 10, 25)),
        ("America/New_York", date(2026, 3, 8)),
        ("America/New_York", date(2026, 11, 1)),
        ("Australia/Lord_Howe", date(2026, 4, 5)),
        ("Australia/Lord_Howe", date(2026, 10, 4)),
    ],
)
@pytest.mark.parametrize("report", sorted(HOURS))
def test_on_the_days_on_which_clocks_change_there_is_one_report_at_its_local_hour(
    zone: str, day: date, report: ReportName
) -> None:
    begin = due_at(report, day - timedelta(days=2), zone) - timedelta(minutes=1)
    found = ticks(report, zone, begin, 5)
    assert [local_date(at, zone) for at in found] == [day + timedelta(days=number) for number in range(-2, 3)]
    assert {at.astimezone(ZoneInfo(zone)).strftime("%H:%M") for at in found} == {f"{HOURS[report]:02}:00"}
    assert [at.astimezone(UTC) for at in found] == [due_at(report, local_date(at, zone), zone) for at in found]
    start, end = span_of("morning", day, zone)
    offset = due_at("morning", day, zone) - due_at("afternoon", day - timedelta(days=1), zone)
    assert end - start == offset != timedelta(hours=16)


@settings(max_examples=60, deadline=None)
@given(zones, days, reports)
def test_every_local_date_has_one_report_in_every_zone(zone: str, day: date, report: ReportName) -> None:
    begin = due_at(report, day, zone) - timedelta(minutes=1)
    dates = [local_date(at, zone) for at in ticks(report, zone, begin, 4)]
    assert len(set(dates)) == len(dates)
    skipped = (dates[-1] - dates[0]).days - 3
    assert skipped in (0, 1), "only where a zone leaves a whole date out"


@settings(max_examples=100, deadline=None)
@given(zones, days)
def test_spans_follow_one_another_without_a_gap(zone: str, day: date) -> None:
    start, end = span_of("morning", day, zone)
    assert start == span_of("afternoon", day - timedelta(days=1), zone)[1]
    assert start < end
    assert span_of("afternoon", day, zone)[0] < span_of("afternoon", day, zone)[1]


@settings(max_examples=100, deadline=None)
@given(zones, st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)), reports)  # noqa: DTZ001
def test_the_newest_report_is_due_and_the_next_one_is_not(zone: str, now: datetime, report: ReportName) -> None:
    day = newest_due(report, now, zone)
    assert due_at(report, day, zone) <= now < due_at(report, day + timedelta(days=1), zone)
