"""Routes of the live page: what they say is what the store and the commands say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.page.overview import schedules_answer
from crypto_pipeline.settings import load_settings
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.page_database import NOW, page_database


@pytest.fixture(scope="module")
def served_page(new_database: NewDatabase) -> Iterator[Served]:
    with (
        page_database(new_database, "page_routes_in_tests") as url,
        Served(Reader(url, patience=2.0), load_settings()) as running,
    ):
        yield running


def test_the_watchlist_has_prices_ages_changes_and_todays_holes(served_page: Served) -> None:
    body = httpx.get(f"{served_page.url}/watchlist").json()
    btc, eth = body["rows"]
    assert (btc["instrument"], btc["last_price"], btc["source"], btc["venue"]) == (
        "BTC-USDT",
        201.0,
        "live_aggregated",
        None,
    )
    assert datetime.fromisoformat(btc["price_time"]) == NOW - timedelta(seconds=2)
    assert 2 <= btc["age_s"] < 60
    assert btc["change_24h"] == pytest.approx(201.0 / 100.5 - 1)
    assert (btc["bars"], btc["holes"], btc["explained"]) == (3, 8 * 60 - 3, 0)
    assert (eth["last_price"], eth["price_time"], eth["change_24h"], eth["bars"]) == (None, None, None, 0)
    csv = httpx.get(f"{served_page.url}/watchlist", headers={"accept": "text/csv"})
    assert csv.text.splitlines()[1].startswith("BTC-USDT,201.0,")


def test_open_alerts_come_by_their_cause_and_shadow_says_why_it_compares_nothing(served_page: Served) -> None:
    (group,) = httpx.get(f"{served_page.url}/alerts").json()["groups"]
    assert group["cause"] == "one <b>thing</b>: it is wrong"
    assert [alert["check"] for alert in group["alerts"]] == ["one <b>thing</b>"]
    shadow = httpx.get(f"{served_page.url}/shadow").json()
    assert shadow["because"] == "the paper account has not begun: no bar has been scanned yet"
    assert (shadow["variants"], shadow["days"], shadow["test"]) == ([], None, None)


def test_schedules_have_their_next_tick_and_a_link_and_say_when_dagster_is_away(served_page: Served) -> None:
    away = httpx.get(f"{served_page.url}/schedules").json()
    assert away["schedules"] is None
    assert away["sensors"] is None
    assert set(away["troubles"]) == {"schedules", "sensors", "runs"}
    row = {"name": "nightly", "kind": "schedule", "running": True, "cron": "0 3 * * *", "last_tick": None,
           "last_status": None, "last_success": None}  # fmt: skip
    rows = [row, {**row, "name": "off", "running": False}, {**row, "name": "freshness", "kind": "sensor", "cron": None}]
    found: dict[str, Any] = {"instigators": rows, "queue": [{"status": "queued", "runs": 2}]}
    figures = SimpleNamespace(
        settings=load_settings(), part=lambda name: SimpleNamespace(value=found[name], trouble=None),
        parts=lambda shown: ({name: found[part] for name, part in shown.items()}, {}),
    )  # fmt: skip
    answer = schedules_answer(cast(DeploymentFigures, figures), NOW)
    (nightly, off), (sensor,) = answer["schedules"], answer["sensors"]
    assert nightly["next_tick"] == datetime(2021, 4, 26, 3, tzinfo=UTC)
    assert nightly["url"] == f"{answer['ui']}/locations/crypto_pipeline/schedules/nightly"
    assert off["next_tick"] is sensor["next_tick"] is None
    assert sensor["url"].endswith("/sensors/freshness")
    assert answer["runs"] == found["queue"]
