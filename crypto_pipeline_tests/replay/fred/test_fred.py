"""The replayed FRED speaks FRED's protocol, and states nothing before it was published."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.fred.generated import generated_series
from crypto_pipeline_tests.builders.fred import IDS, NOW, fred_exchange, truth

KEY = "a" * 32


@pytest.fixture(scope="module")
def exchange() -> Iterator[ReplayExchange]:
    with fred_exchange(fred_keys=[KEY]) as running:
        yield running


def ask(exchange: ReplayExchange, path: str, **query: Any) -> httpx.Response:
    asked = {"api_key": KEY, "file_type": "json"} | query
    return httpx.get(exchange.url + path, params={name: value for name, value in asked.items() if value is not None})


def test_a_series_is_described(exchange: ReplayExchange) -> None:
    one = ask(exchange, "/fred/series", series_id="CPIAUCSL").json()["seriess"][0]
    assert (one["id"], one["frequency_short"], one["seasonal_adjustment_short"]) == ("CPIAUCSL", "M", "SA")
    assert one["last_updated"] == "2026-03-16 07:30:00-05"


def test_observations_come_with_the_days_of_their_vintages(exchange: ReplayExchange) -> None:
    every = {"series_id": "GDP", "realtime_start": "1776-07-04", "realtime_end": "9999-12-31"}
    body = ask(exchange, "/fred/series/observations", **every).json()
    rows = {
        (date.fromisoformat(row["date"]), date.fromisoformat(row["realtime_start"]),
         None if row["value"] == "." else float(row["value"]))
        for row in body["observations"]
    }  # fmt: skip
    assert rows == truth(exchange, "GDP", NOW)
    assert body["count"] == len(rows)
    pages = [
        ask(exchange, "/fred/series/observations", **every, limit=100, offset=offset).json()["observations"]
        for offset in range(0, len(rows), 100)
    ]
    assert [row for page in pages for row in page] == body["observations"]
    cut = ask(exchange, "/fred/series/observations", series_id="GDP", realtime_start="2020-01-01",
              realtime_end="2020-12-31").json()["observations"]  # fmt: skip
    assert min(row["realtime_start"] for row in cut) == "2020-01-01"
    assert max(row["realtime_end"] for row in cut) == "2020-12-31"
    days = [date.fromisoformat(day) for day in ask(exchange, "/fred/series/vintagedates", series_id="GDP").json()[
        "vintage_dates"]]  # fmt: skip
    assert set(days) == {start for _, start, _ in rows}


def test_by_default_only_what_is_the_newest_today_is_stated(exchange: ReplayExchange) -> None:
    rows = ask(exchange, "/fred/series/observations", series_id="UNRATE").json()["observations"]
    assert {row["realtime_start"] for row in rows} == {"2026-03-18"}
    assert len({row["date"] for row in rows}) == len(rows)


def test_the_calendar_has_days_to_come_only_where_they_are_asked_for(exchange: ReplayExchange) -> None:
    planned = ask(exchange, "/fred/release/dates", release_id=10, include_release_dates_with_no_data="true").json()
    past = ask(exchange, "/fred/release/dates", release_id=10).json()
    assert past["release_dates"][-1]["date"] == "2026-03-16"
    assert planned["release_dates"][-1]["date"] > "2026-06"
    newest = ask(exchange, "/fred/release/dates", release_id=10, sort_order="desc", limit=1).json()
    assert newest["release_dates"] == [past["release_dates"][-1]]
    assert ask(exchange, "/fred/series/release", series_id="CPIAUCSL").json()["releases"][0]["id"] == 10


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("/fred/series", {"api_key": None}, "api_key is not set"),
        ("/fred/series", {"api_key": "ABC"}, "not a 32 character alpha-numeric lower-case string"),
        ("/fred/series", {"api_key": "b" * 32}, "api_key is not registered"),
        ("/fred/series", {"series_id": "CPII"}, "The series does not exist."),
        ("/fred/series/observations", {}, "series_id is not set"),
        ("/fred/series/observations", {"series_id": "GDP", "limit": 100_001}, "limit is not between 1 and 100000"),
        ("/fred/series/observations", {"series_id": "GDP", "realtime_start": "2015"}, "not a YYYY-MM-DD"),
        ("/fred/release/dates", {"release_id": 9999}, "release does not exist"),
    ],
)
def test_refusals_are_those_of_fred(exchange: ReplayExchange, path: str, query: dict[str, Any], said: str) -> None:
    answer = ask(exchange, path, **query)
    assert answer.status_code == answer.json()["error_code"] == 400
    assert answer.json()["error_message"].startswith("Bad Request.")
    assert said in answer.json()["error_message"]


def test_the_plain_csv_needs_no_key(exchange: ReplayExchange) -> None:
    lines = httpx.get(f"{exchange.url}/graph/fredgraph.csv", params={"id": "UNRATE"}).text.splitlines()
    assert lines[0] == "observation_date,UNRATE"
    assert lines[-1].startswith("2026-02-01,")
    assert httpx.get(f"{exchange.url}/graph/fredgraph.csv", params={"id": "NOPE"}).status_code == 404


def test_more_than_two_requests_a_second_are_refused() -> None:
    with running_exchange(instruments="BTC-USDT", now=NOW, speed=0) as exchange:
        # The first request may take a second, in which the series is generated; the others take milliseconds.
        statuses = [ask(exchange, "/fred/series", series_id="GDP").status_code for _ in range(5)]
    assert statuses[0] == 200
    assert statuses[1:] in ([200, 429, 429, 429], [200, 200, 429, 429])


def test_a_market_is_generated_with_revisions_benchmarks_and_missing_values() -> None:
    for series_id in IDS:
        series = generated_series(series_id, 1)
        assert series is not None
        assert generated_series(series_id, 2) != series
        known, rows = series.known(NOW), series.vintages(NOW)
        assert "." in known.values() or series_id == "GDP"
        assert all(first > period for period, vintages in rows.items() for first, _, _ in vintages)
        if series_id in ("GDP", "CPIAUCSL", "UNRATE"):
            assert not all(one.calendar for one in series.published(NOW)), "benchmark revisions"
            assert max(len(vintages) for vintages in rows.values()) > 3
    late = generated_series("GDP", 1)
    assert late is not None
    lags = [rows[0][0] - period for period, rows in late.vintages(NOW).items() if period > date(2015, 1, 1)]
    assert min(lags) > timedelta(days=90 + 14), "weeks after the quarter"


@pytest.mark.realdata
def test_recordings_are_published_value_by_value(recorded_data: Path) -> None:
    with fred_exchange(datetime(2020, 5, 1, 12, tzinfo=UTC), macro=recorded_data / "macro/fred") as exchange:
        rows = ask(exchange, "/fred/series/observations", series_id="UNRATE").json()["observations"]
        assert rows[-1]["date"] == "2020-03-01", "April's came on May 8"
        assert rows[0] | {"realtime_start": "", "realtime_end": ""} == {
            "realtime_start": "", "realtime_end": "", "date": "1948-01-01", "value": "3.4",
        }  # fmt: skip
        holes = [
            row for row in ask(exchange, "/fred/series/observations", series_id="DGS10").json()["observations"]
            if row["value"] == "."
        ]  # fmt: skip
        assert len(holes) > 500
        assert ask(exchange, "/fred/series", series_id="CPIAUCSL").status_code == 200, "what is not recorded is made"
