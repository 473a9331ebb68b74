"""The clock of a replay exchange that does not stand at our time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.market_time import market_time
from crypto_pipeline.ops.replay_clock import beginning, replay_clock, shifted_at, tell
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

FIRST, END = datetime(2021, 4, 20, 20, 42, tzinfo=UTC), datetime(2021, 5, 20, 20, 41, tzinfo=UTC)
WALL = datetime(2026, 2, 28, 13, 5, 7, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    folder = tmp_path / "recorded"
    folder.mkdir()
    times = pl.datetime_range(FIRST, END, "1m", closed="left", eager=True).dt.epoch("ms")
    values = {name: pl.repeat(10.0, len(times), eager=True) for name in ("open", "high", "low", "close", "volume")}
    pl.DataFrame({"ts_ms": times, **values}).write_parquet(folder / "BTC_USDT-1m-2021-04.parquet")
    return folder


def settings(data_dir: Path, source: Path | str, **given: object) -> Settings:
    return Settings(data_dir=data_dir, replay_source=str(source), **given)  # type: ignore[arg-type]


@given(
    st.datetimes(  # bounds have no zone here
        datetime(2022, 1, 1),  # noqa: DTZ001
        datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    st.timedeltas(timedelta(hours=1), timedelta(days=400)),
)
def test_it_begins_inside_the_recording_with_a_day_to_go(wall: datetime, length: timedelta) -> None:
    begun = beginning(FIRST, FIRST + length, wall)
    assert FIRST < begun < FIRST + length
    if length > 2 * DAY:
        assert FIRST + length - begun >= DAY
        assert (wall - begun) % DAY == timedelta(0), "the same time of day as ours"
    if length > 8 * DAY:
        assert (wall - begun) % (7 * DAY) == timedelta(0), "the same weekday as ours"


def test_a_recording_keeps_its_dates_and_its_clock_goes_on_over_restarts(tmp_path: Path, recording: Path) -> None:
    places = Places(tmp_path / "data")
    places.make()
    chosen = settings(places.data_dir, recording)
    first = replay_clock(chosen, places, WALL)
    assert first is not None
    assert first.at(WALL) == datetime(2021, 5, 15, 13, 5, 7, tzinfo=UTC)
    again = replay_clock(chosen, places, WALL + 2 * DAY)
    assert again is not None
    assert again.at(WALL + 2 * DAY) == first.at(WALL) + 2 * DAY
    assert market_time(chosen, WALL + DAY) == first.at(WALL) + DAY, "before there is a database"
    faster = replay_clock(settings(places.data_dir, recording, replay_speed=10.0), places, WALL + 2 * DAY)
    assert faster is not None
    assert faster.at(WALL + 3 * DAY) == first.at(WALL) + 12 * DAY, "another speed does not turn it back"
    named = settings(places.data_dir, recording, replay_now="2021-05-01T00:00Z")
    asked = replay_clock(named, places, WALL + 3 * DAY)
    assert asked is not None
    assert asked.at(WALL + 3 * DAY) == datetime(2021, 5, 1, tzinfo=UTC)
    still = replay_clock(settings(places.data_dir, recording, replay_speed=10.0), places, WALL + 3 * DAY)
    assert still is not None
    assert still.at(WALL + 3 * DAY) == first.at(WALL) + 12 * DAY, "one exchange does not set the clock of another"


def test_what_shows_our_time_has_no_clock_of_its_own(tmp_path: Path, recording: Path) -> None:
    places = Places(tmp_path / "data")
    places.make()
    assert replay_clock(settings(places.data_dir, "generated"), places, WALL) is None
    assert replay_clock(settings(places.data_dir, recording, replay_shift_to_now=True), places, WALL) is None
    assert replay_clock(settings(places.data_dir, recording, venue="binance"), places, WALL) is None
    assert market_time(settings(places.data_dir, "generated"), WALL) == WALL


def test_a_recording_that_was_moved_to_now_stays_where_it_was_over_restarts(tmp_path: Path, recording: Path) -> None:
    places = Places(tmp_path / "data")
    places.make()
    moved = settings(places.data_dir, recording, replay_shift_to_now=True)
    assert shifted_at(settings(places.data_dir, recording), places, WALL) is None
    days = []
    for wall in (WALL, WALL + 8 * DAY):
        at = shifted_at(moved, places, wall)
        assert at == WALL
        exchange = ReplayExchange(recording, now=wall, shift_to_now=True, shifted_at=at)
        days.append(exchange.market.symbols()[0].listed_ms)
    assert days[0] == days[1]


@pytest.mark.parametrize("beside", [{}, {"venue": "massive", "massive_source": "replay"}])
def test_recorded_stocks_keep_their_dates_too(tmp_path: Path, beside: dict[str, object]) -> None:
    """Stocks alone, and stocks beside a generated market: the clock begins in the last week of their minutes."""
    minutes = tmp_path / "lean/equity/usa/minute/spy"
    minutes.mkdir(parents=True)
    for day in (7, 8, 9, 10, 11, 14, 15, 16):
        (minutes / f"201310{day:02}_trade.zip").touch()
    places = Places(tmp_path / "data")
    places.make()
    chosen = settings(places.data_dir, "generated", replay_stocks=tmp_path, **beside)
    clock = replay_clock(chosen, places, WALL)
    assert clock is not None
    assert clock.at(WALL) == datetime(2013, 10, 12, 13, 5, 7, tzinfo=UTC), "a Saturday as well"
    named = settings(places.data_dir, "generated", replay_stocks=tmp_path, replay_now="2013-10-08T15:00Z", **beside)
    asked = replay_clock(named, places, WALL)
    assert asked is not None
    assert asked.at(WALL) == datetime(2013, 10, 8, 15, tzinfo=UTC)


def test_a_damaged_file_is_written_anew(tmp_path: Path, recording: Path) -> None:
    places = Places(tmp_path / "data")
    places.make()
    places.replay_clock.write_text("{")
    found = replay_clock(settings(places.data_dir, recording), places, WALL)
    assert found is not None
    assert found == replay_clock(settings(places.data_dir, recording), places, WALL + DAY)


def test_the_database_is_told_before_the_exchange_answers(tmp_path: Path, recording: Path, postgres_url: str) -> None:
    places = Places(tmp_path / "data")
    places.make()
    with Store(postgres_url) as store:
        tell(settings(places.data_dir, "generated"), places, store)
        assert store.connections.row("SELECT count(*) FROM market.clock") == (0,)
        tell(settings(places.data_dir, recording), places, store)
        clock = replay_clock(settings(places.data_dir, recording), places)
        assert clock is not None
        assert abs(store.clock.now() - clock.at(datetime.now(UTC))) < timedelta(seconds=30)
        assert store.clock.now() < END


def test_what_the_venue_said_comes_before_any_file(tmp_path: Path, recording: Path, postgres_url: str) -> None:
    chosen = settings(tmp_path / "data", recording, database_url=postgres_url)
    assert market_time(chosen, WALL) == WALL
    with Store(postgres_url) as store:
        store.clock.learn("replay", FIRST)
    assert timedelta(0) <= market_time(chosen, WALL) - FIRST < timedelta(seconds=30)
