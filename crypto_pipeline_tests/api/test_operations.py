"""Health, metrics and the cache routes: what they say, to whom, and that they wait for nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from crypto_pipeline import Reader
from crypto_pipeline.api.app import create_app
from crypto_pipeline.api.operations.collector import exposition
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.operations.parts import AwayMark, Part
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.errors import DatabaseAwayError, StoreError
from crypto_pipeline.store.operations.job_metrics import JobMetrics
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.bars import START, bar, frame
from crypto_pipeline_tests.builders.exposition import values

TOKEN = {"authorization": "Bearer open sesame"}


@pytest.fixture
def figures(postgres_url: str) -> Iterator[DeploymentFigures]:
    found = DeploymentFigures(postgres_url, load_settings())
    yield found
    found.close()


def test_metrics_follow_the_conventions_of_prometheus_and_name_no_instrument(served: Served) -> None:
    answer = httpx.get(f"{served.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families) > 40
    for family in families:
        assert family.name.startswith("crypto_pipeline_")
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert sample.value >= 0
            assert "BTC-USDT" not in sample.labels.values()
    found = values(answer.text)
    assert found["crypto_pipeline_bars"][("1m", "replay")] == 42
    assert found["crypto_pipeline_database_up"] == {(): 1}
    assert found["crypto_pipeline_newest_bar_age_seconds"][("1m", "replay")] > 0
    # Dagster's database does not exist here: its parts say so, all else is there
    ok = found["crypto_pipeline_scrape_part_ok"]
    assert {part for (part,), value in ok.items() if not value} == {"queue", "runs_launched", "daemons", "instigators"}


def test_counters_go_on_after_what_they_count_was_deleted(postgres_url: str, figures: DeploymentFigures) -> None:
    began = datetime.now(UTC) - timedelta(days=3)
    with Store(postgres_url) as store:
        for number in range(3):
            counts = {"bars_made": 10, "gaps_found": 2, "gaps_filled": 1}
            store.metrics.record(JobMetrics("sync", began, seconds=2.0, succeeded=number > 0, **counts))
        for source in ("one", "two"):
            store.checks.raise_alert(source, "error", "it is wrong")
        store.checks.resolve_alert("one")
    before = values(exposition(figures, {}).decode())
    with Store(postgres_url) as store:
        assert store.storage.prune(timedelta(0)) == {"ops.alerts": 1, "ops.job_metrics": 3, "ops.storage_samples": 0}
    again = DeploymentFigures(postgres_url, load_settings())
    after = values(exposition(again, {}).decode())
    again.close()
    for name, labels, value in (
        ("crypto_pipeline_runs_total", ("sync", "succeeded"), 2), ("crypto_pipeline_runs_total", ("sync", "failed"), 1),
        ("crypto_pipeline_bars_written_total", ("sync", "succeeded"), 20),
        ("crypto_pipeline_gaps_found_total", ("sync", "succeeded"), 4),
        ("crypto_pipeline_run_duration_seconds_total", ("sync", "failed"), 2.0),
        ("crypto_pipeline_alerts_opened_total", ("error",), 2), ("crypto_pipeline_alerts_open", ("error",), 1),
    ):  # fmt: skip
        assert before[name][labels] == after[name][labels] == value, name


def test_sent_messages_go_on_counting_after_they_were_deleted(postgres_url: str, figures: DeploymentFigures) -> None:
    with connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO ops.outbox (kind, channel, body, state) SELECT 'alert', 'slack', '{}', s"
            " FROM unnest(ARRAY['sent', 'sent', 'queued', 'unknown']) AS s"
        )
        assert figures.scrape.messages() == [{"channel": "slack", "kind": "alert", "sent": 2, "waiting": 2}]
        connection.execute("DELETE FROM ops.outbox WHERE state = 'sent'")
    assert figures.scrape.messages() == [{"channel": "slack", "kind": "alert", "sent": 2, "waiting": 2}]


async def test_booked_weight_adds_up_over_windows(postgres_url: str, figures: DeploymentFigures) -> None:
    def booked() -> float:
        return next(row["weight_total"] for row in figures.scrape.budgets() if row["venue"] == "replay")

    def next_window(connection: psycopg.Connection[Any]) -> None:
        connection.execute("UPDATE ops.venue_budgets SET window_index = window_index - 1")

    with Store(postgres_url) as store:
        await store.budgets.of("replay").acquire(100)
        first = booked()
        store.connections.run(next_window)
        await store.budgets.of("replay").acquire(60)
        second = booked()
        await store.budgets.of("replay").report(1)  # the venue counts less than was booked: nothing is taken back
    assert first >= 100
    assert second >= first + 60
    assert booked() == second


def test_what_is_late_is_counted_by_venue_and_timeframe(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add(
            [Instrument.crypto("BTC-USDT"), Instrument.crypto("ETH-USDT").model_copy(update={"venue": "kraken"})]
        )
        store.bars.write(frame([bar(at=START)]), Timeframe.M1)
        store.clock.learn("replay", START + timedelta(minutes=5))
        figures = DeploymentFigures(postgres_url, load_settings())
        rows = {(row["venue"], row["timeframe"]): row for row in figures.part("newest_bars").value}
        figures.close()
    ours, other = rows["replay", "1m"], rows["kraken", "1m"]
    assert (ours["age_seconds"], ours["with_bars"], ours["late"]) == (pytest.approx(240, abs=30), 1, 0)
    assert (other["age_seconds"], other["with_bars"], other["late"]) == (None, 0, 1)
    assert other["oldest_symbol"] == "ETH-USDT"


def test_a_database_that_is_away_is_a_figure_and_no_error() -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port('127.0.0.1')}/nothing"
    figures = DeploymentFigures(url, load_settings())
    began = time.monotonic()
    found = values(exposition(figures, {}).decode())
    assert time.monotonic() - began < 10
    figures.close()
    assert found["crypto_pipeline_database_up"] == {(): 0}
    assert found["crypto_pipeline_scrape_part_ok"][("machine",)] == 1
    assert found["crypto_pipeline_disk_free_bytes"][()] > 0
    assert "crypto_pipeline_bars" not in found


def test_health_is_critical_while_the_database_is_away() -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port('127.0.0.1')}/nothing"
    app = create_app(Reader(url), figures=DeploymentFigures(url, load_settings()))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.get("/health")
        assert answer.status_code == 503
        [check] = answer.json()["checks"]
        assert (check["check"], check["status"], check["severity"]) == ("database", "bad", "critical")
        assert check["runbook"] == "docs/runbook.md#database"
        details = client.get("/health/details").json()
    assert details["status"] == "critical"
    assert details["database"] is None
    assert details["troubles"]["database"]
    assert details["disk"]["free_bytes"] > 0


def test_details_leave_out_what_cannot_be_read(served: Served) -> None:
    answer = httpx.get(f"{served.url}/health/details")
    assert answer.status_code == 200
    found = answer.json()
    assert set(found["troubles"]) == {"queue", "daemons", "schedules", "sensors"}
    assert "does not exist" in found["troubles"]["queue"]
    for part in ("queue", "daemons", "schedules", "sensors"):
        assert found[part] is None
    assert found["database"]["latency_seconds"] < 1
    assert not found["database"]["read_only"]
    assert found["database"]["version"]
    assert [row["timeframe"] for row in found["freshness"]] == list(Timeframe)
    assert {row["name"] for row in found["programs"]} == {"api"}
    assert found["machine"]["memory_available_bytes"] > 0
    assert found["disk"]["free_bytes"] > 0


def test_without_the_token_nothing_but_the_status_is_told(
    served_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_API_TOKEN", "open sesame")
    with Served(Reader(served_database), load_settings()) as guarded, httpx.Client(base_url=guarded.url) as client:
        for path in ("/metrics", "/health/details", "/cache/status", "/cache/scheduler/status"):
            assert client.get(path).status_code == 401
        for path in ("/cache/refresh-live", "/cache/sync-historical"):
            assert client.post(path).status_code == 401
        assert client.get("/metrics", headers=TOKEN).status_code == 200
        described = client.get("/openapi.json").json()["paths"]
        assert described["/cache/backfill-symbol"]["post"]["security"] == [{"token": []}]
        assert "security" not in described["/health/simple"]["get"]


def test_runs_are_started_with_a_token_only_and_what_is_wrong_is_named(
    served: Served, served_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"symbol": "BTC-USDT", "market": "crypto"}
    refused = httpx.post(f"{served.url}/cache/backfill-symbol", json=asked)
    assert refused.status_code == 403
    assert "set CRYPTO_PIPELINE_API_TOKEN" in refused.json()["detail"]
    monkeypatch.setenv("CRYPTO_PIPELINE_API_TOKEN", "open sesame")
    monkeypatch.setenv("CRYPTO_PIPELINE_UI_PORT", str(free_port("127.0.0.1")))
    with Served(Reader(served_database), load_settings()) as guarded:
        client = httpx.Client(base_url=guarded.url, headers=TOKEN)
        for path, body, status, said in (
            ("backfill-symbol", {"symbol": "BTC-USD", "market": "crypto"}, 404, "did you mean BTC-USDT?"),
            ("backfill-symbol", {"symbol": "NOPE", "market": "crypto"}, 404, "`crypto-pipeline instruments add NOPE`"),
            ("backfill-symbol", {"symbol": "BTC-USDT", "market": "stocks"}, 422, "of the market crypto, not of stocks"),
            ("backfill-symbol", {"symbol": "BTC-USDT", "markt": "crypto"}, 422, "did you mean market?"),
            ("refresh-live", {"market": "stocks"}, 404, "no instrument of the market stocks is collected"),
            (
                "sync-historical",
                {"venue": "moon"},
                404,
                "nothing is collected from the venue 'moon': use one of replay",
            ),
            # what is right needs Dagster's storage first, which does not exist here
            ("backfill-symbol", asked, 503, "does not exist"),
        ):
            answer = client.post(f"/cache/{path}", json=body)
            assert answer.status_code == status, answer.text
            assert said in answer.json()["detail"]
        client.close()


def test_what_is_stored_of_one_instrument_is_told(served: Served) -> None:
    found = httpx.get(f"{served.url}/cache/historical/btc-usdt").json()
    assert (found["symbol"], found["market"], found["venue"], found["active"]) == ("BTC-USDT", "crypto", "replay", True)
    assert found["series"][0]["timeframe"] == "1m"
    assert found["series"][0]["bars"] == 42
    assert found["series"][0]["newest"] == "2025-03-31T00:48:00+00:00"
    answer = httpx.get(f"{served.url}/cache/historical/BTC-USD")
    assert answer.status_code == 404
    assert "did you mean BTC-USDT?" in answer.json()["detail"]
    stored = httpx.get(f"{served.url}/cache/status").json()
    assert stored["bars"][0]["present"] == 42
    assert stored["requests"] is None
    assert "does not exist" in stored["troubles"]["requests"]
    assert httpx.get(f"{served.url}/cache/scheduler/status").json()["sensors"] is None


def test_health_and_metrics_wait_for_no_slow_read(served_database: str) -> None:
    """Every connection for reads waits for a table: what is told of it comes from others, and from kept parts."""
    reader = Reader(served_database, connections=2, patience=1.0, statement_timeout=5.0)
    with Served(reader, load_settings()) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        for path in ("/metrics", "/health/details"):
            assert client.get(path).status_code == 200
        with connect(served_database) as locking, locking.transaction():
            locking.execute("LOCK TABLE market.ohlc_data IN ACCESS EXCLUSIVE MODE")
            span = "/bars/BTC-USDT?timeframe=1m&start=2025-03-31&end=2025-04-01"
            with ThreadPoolExecutor(20) as crowd:
                waiting = [
                    crowd.submit(httpx.get, f"{running.url}{span}&limit={100 + n}", timeout=20) for n in range(20)
                ]
                with connect(served_database) as looking:
                    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    while looking.execute(query).fetchone()[0] < 2:  # type: ignore[index]
                        time.sleep(0.01)
                for path in ("/metrics", "/health/details", "/health/simple"):
                    began = time.monotonic()
                    assert client.get(path).status_code == 200
                    assert time.monotonic() - began < 2
                locking.execute("ROLLBACK")
                assert {each.result().status_code for each in waiting} <= {200, 422, 503}


def test_many_that_ask_at_once_cause_one_read() -> None:
    reads, begun, release = [0], threading.Event(), threading.Event()

    def read() -> int:
        reads[0] += 1
        begun.set()
        assert release.wait(10)
        return reads[0]

    part = Part("slow", read, 30.0, AwayMark())
    with ThreadPoolExecutor(8) as crowd:
        found = [crowd.submit(part.get) for _ in range(8)]
        assert begun.wait(10)
        release.set()
        assert {each.result().value for each in found} == {1}


def test_a_part_of_the_background_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last value, or the last trouble, is given out while the next one is read, however long that takes."""
    monkeypatch.setattr("crypto_pipeline.api.operations.parts._WAIT_SECONDS", 0.05)
    now, may_go_on = [1000.0], threading.Event()
    monkeypatch.setattr("crypto_pipeline.api.operations.parts.time.monotonic", lambda: now[0])
    results: list[int | StoreError] = [1, StoreError("it is locked"), 3]

    def read() -> int:
        assert may_go_on.wait(10)
        result = results.pop(0)
        if isinstance(result, StoreError):
            raise result
        return result

    def settled() -> None:
        may_go_on.set()
        background.submit(lambda: None).result(10)
        may_go_on.clear()

    with ThreadPoolExecutor(1) as background:
        part = Part("sums", read, 5.0, AwayMark(), background)
        assert "is being read" in str(part.get().trouble)  # nothing is there yet
        settled()
        assert part.get().value == 1
        now[0] += 6.0
        assert part.get().value == 1
        settled()
        assert part.get().trouble == "it is locked"
        now[0] += 6.0
        assert part.get().trouble == "it is locked"
        settled()
        assert part.get().value == 3
        may_go_on.set()


def test_a_database_that_did_not_answer_is_not_asked_by_each_part() -> None:
    away, asked = AwayMark(), []

    def read(name: str) -> None:
        asked.append(name)
        raise DatabaseAwayError("it is away")

    first, second = (Part(name, lambda name=name: read(name), 1.0, away) for name in ("one", "two"))
    assert first.get().trouble == second.get().trouble == "it is away"
    assert asked == ["one"]

    def wrong() -> None:
        raise StoreError("no such table\nand more")

    assert Part("three", wrong, 1.0, AwayMark()).get().trouble == "no such table"
