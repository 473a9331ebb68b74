"""The catalogue of the mirror: which files are due, the switch of days, and what retires a file."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.mirror import catalogue, cells
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries
from crypto_pipeline.store.mirror.looks import MirrorMoment
from crypto_pipeline_tests.builders.bars import SYMBOLS, bar, frame, series

MINUTES = MirrorSeries.of_bars(Timeframe.M1)
FIRST = datetime(2025, 3, 30, tzinfo=UTC)
NEXT_DAY = MirrorMoment(datetime(2025, 4, 1, 0, 30, tzinfo=UTC), "file:///nowhere")
IN_APRIL = MirrorMoment(datetime(2025, 4, 2, 1, tzinfo=UTC), "file:///nowhere")


def due(store: Store, moment: MirrorMoment, of: MirrorSeries = MINUTES) -> list[FileSpan]:
    return [one.span for one in store.connections.run(cells.due, of, moment)]


def catalogued(store: Store, span: FileSpan, moment: MirrorMoment, name: str) -> int:
    """A current file of ``span`` that was never stored."""
    run = store.connections.run
    found = run(cells.within, span, moment)
    number = run(catalogue.add, span, (moment.base_url, name), (int(found["rows"].sum()), 1, "0", None))
    run(catalogue.mark_verified, number)
    run(catalogue.switch, span, number, found)
    return number


def statuses(store: Store) -> dict[str, str]:
    found = store.connections.run(catalogue.find, None, None, None, ("written", "verified", "current", "retired"))
    return {file.path: file.status for file in found}


def test_days_become_months_and_a_changed_bar_makes_its_file_due(store: Store) -> None:
    store.bars.write(series(count=2 * 1440, start=FIRST), Timeframe.M1)
    numbers = sorted(store.symbols.ids(SYMBOLS).values())
    first_day = FileSpan(MINUTES, None, date(2025, 3, 30), date(2025, 3, 31))

    assert due(store, NEXT_DAY) == [first_day], "the second day is neither complete nor a day old"
    catalogued(store, first_day, NEXT_DAY, "day")
    assert due(store, NEXT_DAY) == []

    months = [FileSpan(MINUTES, number, date(2025, 3, 1), date(2025, 4, 1)) for number in numbers]
    assert due(store, IN_APRIL) == months, "a settled month is a file of each instrument"
    for span in months:
        assert statuses(store)["day"] == "current", "an instrument's day is still in it"
        catalogued(store, span, IN_APRIL, f"month {span.instrument_id}")
    assert due(store, IN_APRIL) == []
    assert statuses(store)["day"] == "retired"

    healed = bar("ETH-USDT", FIRST + timedelta(minutes=7), revision=datetime(2026, 1, 1, tzinfo=UTC))
    store.bars.write(frame([healed]), Timeframe.M1)
    ids = store.instruments.ids()
    assert due(store, IN_APRIL) == [span for span in months if span.instrument_id == ids["ETH-USDT"]]
    assert due(store, MirrorMoment(IN_APRIL.now, "s3://elsewhere/lake")) == months, "all files move to another place"


def test_closed_weeks_are_files_of_all_instruments(store: Store) -> None:
    """Days 1-8, 9-16, 17-24 of a running month are files once they are settled; what is left are files of days."""
    store.bars.write(series(("BTC-USDT", "ETH-USDT"), count=9 * 96, start=datetime(2025, 3, 1, tzinfo=UTC),
                            timeframe=Timeframe.M15), Timeframe.M15)  # fmt: skip
    quarters = MirrorSeries.of_bars(Timeframe.M15)
    store.connections.run(lambda connection: connection.execute("UPDATE market.coverage SET final = true") and None)

    def days(month_day: int) -> list[tuple[int, int]]:
        moment = MirrorMoment(datetime(2025, 3, month_day, 0, 30, tzinfo=UTC), "file:///nowhere")
        return sorted((span.first_day.day, span.end_day.day) for span in due(store, moment, quarters))

    assert days(9) == [(day, day + 1) for day in range(1, 8 + 1)]
    assert days(10) == [(1, 9), (9, 10)]


def test_a_file_of_an_interrupted_run_is_never_used(store: Store) -> None:
    store.bars.write(series(("BTC-USDT",), count=1440, start=FIRST), Timeframe.M1)
    span = due(store, NEXT_DAY)[0]
    run = store.connections.run
    number = run(catalogue.add, span, ("file:///nowhere", "one"), (1440, 1, "0", None))
    run(catalogue.abandon)
    with pytest.raises(StoreError, match="another run is active"):
        run(catalogue.mark_verified, number)
    with pytest.raises(StoreError, match="another run is active"):
        run(catalogue.switch, span, number, run(cells.within, span, NEXT_DAY))
    assert due(store, NEXT_DAY) == [span]
    assert [file.path for file in run(catalogue.removable)] == ["one"], "no reader ever knew it"
    run(catalogue.forget, number)
    assert statuses(store) == {}


def test_wide_bars_share_files(store: Store) -> None:
    store.bars.write(series(count=48, start=FIRST - timedelta(days=20), timeframe=Timeframe.H1), Timeframe.H1)
    store.bars.write(series(count=3, start=FIRST - timedelta(days=20), timeframe=Timeframe.D1), Timeframe.D1)
    hours, days = MirrorSeries.of_bars(Timeframe.H1), MirrorSeries.of_bars(Timeframe.D1)
    assert due(store, NEXT_DAY, hours) == [FileSpan(hours, None, date(2025, 3, 1), date(2025, 4, 1))]
    assert due(store, NEXT_DAY, days) == [FileSpan(days, None, date(2025, 3, 1), date(2025, 4, 1))]
    years_end = MirrorMoment(datetime(2026, 1, 2, 1, tzinfo=UTC), "file:///nowhere")
    assert due(store, years_end, days) == [FileSpan(days, None, date(2025, 1, 1), date(2026, 1, 1))]


def test_days_that_left_their_table_leave_the_catalogue(store: Store) -> None:
    store.bars.write(series(("BTC-USDT", "ETH-USDT"), count=1440, start=FIRST), Timeframe.M1)
    (span,) = due(store, NEXT_DAY)
    catalogued(store, span, NEXT_DAY, "one")
    assert store.connections.run(cells.remove_gone, MINUTES, NEXT_DAY) == 0
    store.connections.run(
        lambda connection: (
            connection.execute("UPDATE market.coverage SET archived = present WHERE timeframe = '1m'") and None
        )
    )
    assert store.connections.run(cells.remove_gone, MINUTES, NEXT_DAY) == 2
    store.connections.run(catalogue.retire_empty)
    assert statuses(store) == {"one": "retired"}
    assert due(store, NEXT_DAY) == []
