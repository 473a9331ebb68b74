"""Macro series in the tables: choice, vintages taken over in one transaction, reads as of a moment, the calendar.

Guards I2 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from threading import Barrier, Thread

import pytest

from crypto_pipeline.market.macro.series import MacroSeries, choose_series
from crypto_pipeline.market.macro.vintages import Availability, Vintage
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.macro.writer import MacroWrite

ZONE = "America/Chicago"
NOW = datetime(2026, 3, 18, 12, tzinfo=UTC)
JAN, FEB = date(2026, 1, 1), date(2026, 2, 1)
FIRST, SECOND = date(2026, 2, 11), date(2026, 3, 11)
STATED = [
    Vintage(JAN, 1.0, FIRST, SECOND - timedelta(days=1)),
    Vintage(JAN, 1.1, SECOND, None),
    Vintage(FEB, None, SECOND, None),
]


@pytest.fixture
def macro(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as store:
        store.macro.choose(choose_series("default"))
        yield store


def availability(now: datetime = NOW) -> Availability:
    return Availability(ZONE, now)


def test_series_are_chosen_and_dismissed_and_rows_stay(macro: Store) -> None:
    assert macro.macro.choose(choose_series("default")) == []
    assert macro.macro.choose(choose_series("CPI,DGS10")) == ["DGS10"]
    assert [row.name for row in macro.macro.series()] == ["CPI", "DGS10"]
    assert len(macro.macro.series(active_only=False)) == 6
    assert macro.macro.progress() == {"CPI": False, "DGS10": False}
    assert macro.macro.find("cpiaucsl").name == "CPI"
    macro.macro.choose([MacroSeries("TREASURY_10Y", "DGS10")])
    assert macro.macro.find("DGS10").name == "TREASURY_10Y"
    with pytest.raises(StoreError, match="unknown macro series 'CPII': did you mean CPI"):
        macro.macro.find("CPII")


def test_a_database_that_is_not_migrated_has_no_macro_series(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.connections.run(lambda connection: connection.execute("DROP TABLE market.macro_series CASCADE") and None)
        assert store.macro.progress() == {}


def test_vintages_are_read_as_they_were_known(macro: Store) -> None:
    written = macro.macro.write("CPIAUCSL", STATED, availability(), has_vintages=True, collected_at=NOW)
    assert written == MacroWrite(3, 0, 0)
    assert macro.macro.write("CPIAUCSL", STATED, availability()) == MacroWrite(0, 0, 0)
    row = macro.macro.find("CPI")
    assert (row.has_vintages, row.collected_at) == (True, NOW)
    newest = macro.macro.observations(row)
    assert newest.select("period", "value", "vintage_start").rows() == [(JAN, 1.1, SECOND), (FEB, None, SECOND)]
    assert macro.macro.observations(row, prints="first")["value"].to_list() == [1.0, None]
    assert macro.macro.observations(row, prints="all").height == 3
    assert macro.macro.observations(row, FEB)["period"].to_list() == [FEB]
    assert macro.macro.observations(row, end=FEB, prints="all")["value"].to_list() == [1.0, 1.1]
    before = macro.macro.observations(row, as_of=datetime(2026, 3, 1, tzinfo=UTC), prints="all")
    assert before.select("value", "vintage_end").rows() == [(1.0, None)]
    assert macro.macro.observations(row, as_of=datetime(2026, 2, 12, 5, 59, tzinfo=UTC)).is_empty()
    assert macro.macro.observations(row, as_of=datetime(2026, 2, 12, 6, tzinfo=UTC)).height == 1


def test_a_restated_vintage_does_not_change_what_was_known(macro: Store) -> None:
    macro.macro.write("CPIAUCSL", STATED, availability())
    row, before = macro.macro.find("CPI"), NOW + timedelta(days=1)
    seen = macro.macro.observations(row, as_of=before, prints="all")
    later = availability(NOW + timedelta(days=30))
    restated = [STATED[0], Vintage(JAN, 1.2, SECOND, None)]
    assert macro.macro.write("CPIAUCSL", restated, later) == MacroWrite(0, 1, 1)
    assert macro.macro.observations(row, as_of=before, prints="all").equals(seen)
    assert macro.macro.observations(row)["value"].to_list() == [1.2, None]
    assert macro.macro.observations(row, as_of=later.observed_at)["value"].to_list() == [1.2, None]


def test_values_without_vintages_are_known_since_they_were_fetched(macro: Store) -> None:
    row, week = macro.macro.find("GDP"), timedelta(days=7)
    for place, values in enumerate(([(JAN, 1.0)], [(JAN, 1.0)], [(JAN, 1.5), (FEB, 2.0)])):
        macro.macro.write_snapshot("GDP", values, availability(NOW + place * week), has_vintages=False)
    rows = macro.macro.observations(row, prints="all")
    assert rows.select("value", "available_at", "basis").rows() == [
        (1.0, NOW, "observed"), (1.5, NOW + 2 * week, "observed"), (2.0, NOW + 2 * week, "observed"),
    ]  # fmt: skip
    assert macro.macro.observations(row, as_of=NOW + week)["value"].to_list() == [1.0]
    assert macro.macro.observations(row, as_of=NOW - week).is_empty()


def test_true_vintages_take_the_place_of_observed_values(macro: Store) -> None:
    row = macro.macro.find("CPI")
    macro.macro.write_snapshot("CPIAUCSL", [(JAN, 1.1), (FEB, None)], availability())
    macro.macro.write("CPIAUCSL", STATED, availability(NOW + timedelta(days=1)))
    assert macro.macro.observations(row, prints="all")["vintage_start"].to_list() == [FIRST, SECOND, SECOND]


def test_failures_are_written_down_with_growing_pauses(macro: Store) -> None:
    pauses = []
    for _ in range(5):
        macro.macro.failed("GDP", "gone\x00", NOW, 300.0, 86_400.0)
        row = macro.macro.find("GDP")
        assert row.next_attempt is not None
        pauses.append((row.next_attempt - NOW).total_seconds())
    assert pauses == [300, 1_200, 4_800, 19_200, 76_800]
    assert (row.attempts, row.problem) == (5, "gone")
    macro.macro.failed("GDP", "gone", NOW, 300.0, 86_400.0)
    row = macro.macro.find("GDP")
    assert row.next_attempt == NOW + timedelta(days=1)
    assert macro.macro.find("CPI").attempts == 0


def test_days_of_the_calendar_move(macro: Store) -> None:
    days = [date(2026, 1, 13), date(2026, 2, 11), date(2026, 3, 11), date(2026, 4, 10)]
    macro.macro.add_release_dates(10, days)
    macro.macro.add_release_dates(10, [date(2026, 3, 11), date(2026, 4, 14)])
    assert macro.macro.release_dates(10) == [*days[:3], date(2026, 4, 14)]
    assert macro.macro.release_dates(None) == []


def test_writers_side_by_side_lose_nothing(macro: Store) -> None:
    begin = Barrier(4)

    def write(place: int) -> None:
        begin.wait()
        periods = [date(2000 + place, month, 1) for month in range(1, 13)]
        for _ in range(3):
            macro.macro.write("GDP", [Vintage(period, float(place), FIRST, None) for period in periods], availability())

    threads = [Thread(target=write, args=[place]) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert macro.macro.summary().filter(name="GDP")["rows"].to_list() == [48]
