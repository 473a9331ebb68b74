"""The example of a source of one's own: installed as a package, it is a venue like any other."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline import venue_names
from crypto_pipeline.healing import Pipeline
from crypto_pipeline.market import Timeframe
from crypto_pipeline.market.universe import load_universe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import make_venue, venue_entry
from crypto_pipeline_tests.examples.running import EXAMPLES

SOURCE = EXAMPLES / "own_source"
MINUTE = timedelta(minutes=1)
NAMES = ("GOLD-USD", "PLATINUM-USD", "SILVER-USD")
#: The minutes of the first name that are in no file: its hundredth to hundred-and-sixth.
ABSENT = range(100, 107)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as pip installs it: its module, and its entry points beside it."""
    entries = tomllib.loads((SOURCE / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    lines = [f"[{group}]\n{name} = {value}\n" for group, each in entries.items() for name, value in each.items()]
    information = tmp_path / "site/own_source-0.1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: own-source\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(SOURCE))
    venue_names.own_venues.cache_clear()
    yield
    sys.modules.pop("own_source", None)
    venue_names.own_venues.cache_clear()


@pytest.fixture
def minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pl.DataFrame]:
    """Files with minutes from yesterday's midnight to now, one of them with a hole."""
    folder = tmp_path / "minutes"
    folder.mkdir()
    monkeypatch.setenv("OWN_SOURCE_FOLDER", str(folder))
    now = datetime.now(UTC)
    first = Timeframe.D1.floor(now) - timedelta(days=1)
    written = {}
    for place, name in enumerate(NAMES):
        times = pl.datetime_range(first, Timeframe.M1.floor(now), MINUTE, closed="left", time_unit="ms", eager=True)
        base = pl.Series(range(len(times))) + 100.0 * (place + 1)
        prices = {"open": base, "high": base + 1, "low": base - 1, "close": base + 0.5}
        frame = pl.DataFrame({"open_time": times, **prices, "volume": 2.0 * base})
        absent = list(ABSENT) if name == NAMES[0] else []
        written[name] = frame.filter(~pl.int_range(pl.len()).is_in(absent))
        written[name].write_csv(folder / f"{name}.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
    return written


def test_its_files_are_stored_rolled_up_and_explained(
    installed: None, minutes: dict[str, pl.DataFrame], postgres_url: str
) -> None:
    settings = Settings(venue="csv_folder", days=1, heal_backoff=0.001)
    first = minutes[NAMES[1]]["open_time"][0]
    absent = (first + ABSENT.start * MINUTE, first + ABSENT.stop * MINUTE)

    async def heal(store: Store) -> None:
        async with Pipeline.open(store, settings) as pipeline:
            await pipeline.sync_instruments()
            await pipeline.backfill()

    with Store(postgres_url) as store:
        store.instruments.add(load_universe(SOURCE / "universe.toml"))
        asyncio.run(heal(store))
        for name, frame in minutes.items():
            stored = store.reader.read([name], Timeframe.M1, first, datetime.now(UTC), columns=frame.columns)
            assert frame.head(stored.height).equals(stored)
            assert stored.height >= frame.height - 2, "the newest may not be settled"
        (hour,) = store.reader.read([NAMES[1]], Timeframe.H1, first, first + 60 * MINUTE, columns=["volume"])["volume"]
        assert hour == minutes[NAMES[1]]["volume"][:60].sum()
        (hole,) = store.ledger.open(Timeframe.M1, [NAMES[0]]).rows(named=True)
        assert (hole["start"], hole["end"], hole["state"]) == (*absent, "no_trade")


def test_it_is_known_by_its_name_alone(installed: None, minutes: dict[str, pl.DataFrame]) -> None:
    assert "csv_folder" in venue_names.own_venues()
    assert not venue_names.has_stream("csv_folder")
    assert make_venue(Settings(venue="csv_folder")).name == "csv_folder"
    with pytest.raises(ValueError, match=r"Did you mean csv_folder\?|did you mean csv_folder\?"):
        venue_names.refuse_unknown_venue("csv_foldr")


def test_an_entry_that_is_none_is_refused_by_name(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import own_source  # type: ignore[import-not-found]

    monkeypatch.setattr(own_source, "ENTRY", own_source.CsvFolder)
    with pytest.raises(ValueError, match=r"the venue csv_folder: own_source:ENTRY is no VenueEntry"):
        venue_entry("csv_folder")
