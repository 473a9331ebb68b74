"""Recorded series of FRED, through its protocol into the tables and out again: every value, every hole, in its time.

Guards I5 (docs/invariants.md).
"""

from __future__ import annotations

import csv
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from crypto_pipeline.healing.macro.sync import sync_macro
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.fred import collect, fred_exchange, truth, without_pace

pytestmark = pytest.mark.realdata

NOW = datetime(2022, 12, 1, 12, tzinfo=UTC)
IDS = ("GDP", "UNRATE", "DGS10")


async def test_what_was_recorded_is_what_is_read(
    store: Store, recorded_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pace(monkeypatch)
    folder = recorded_data / "macro/fred"
    with fred_exchange(NOW, macro=folder) as exchange:
        collect(store, exchange, monkeypatch, ",".join(IDS))
        report = await sync_macro(store, load_settings(), store.macro.series())
        assert report.problems == {}
        for series_id in IDS:
            row = store.macro.find(series_id)
            with (folder / f"{series_id}.csv").open() as file:
                recorded = {
                    date.fromisoformat(period): None if value == "." else float(value)
                    for period, value in list(csv.reader(file))[1:]
                }
            read = dict(store.macro.observations(row).select("period", "value").rows())
            newest = max(read)
            assert read == {period: value for period, value in recorded.items() if period <= newest}
            assert newest >= date(2022, 7, 1)
            draws = random.Random(series_id)
            for _ in range(4):
                moment = NOW - timedelta(days=draws.uniform(0, 20_000))
                seen = store.macro.observations(row, as_of=moment, prints="all")
                assert set(seen.select("period", "vintage_start", "value").rows()) <= truth(exchange, series_id, moment)
    rates = store.macro.observations(store.macro.find("DGS10"))
    assert rates["value"].null_count() > 600, "holidays have no value, and nothing is carried forward"
