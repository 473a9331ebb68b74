"""The supervisor's row: what an outage explains is not said again, any other error is."""

from __future__ import annotations

import psycopg
import pytest

from crypto_pipeline.ops.supervision.health import HealthReport
from crypto_pipeline.ops.supervision.heartbeat import SupervisorHeartbeat
from crypto_pipeline.store import Store
from crypto_pipeline.store.coordination.heartbeats import SUPERVISOR

REPORT = HealthReport(supervisord=True)


def test_the_row_is_written_and_forgotten(postgres_url: str) -> None:
    heartbeat = SupervisorHeartbeat(postgres_url, "one")
    heartbeat.write(REPORT, "healthy")
    with Store(postgres_url) as store:
        beat = store.heartbeats.get(f"{SUPERVISOR}:one")
        assert beat is not None
        assert beat.detail["phase"] == "healthy"
        heartbeat.forget()
        assert store.heartbeats.get(f"{SUPERVISOR}:one") is None


def test_an_outage_is_said_by_its_own_check_alone(caplog: pytest.LogCaptureFixture) -> None:
    SupervisorHeartbeat("postgresql://nobody@127.0.0.1:1/missing", "one").write(REPORT, "healthy")
    assert caplog.records == []


def test_a_fault_of_the_program_is_said(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("ALTER TABLE ops.heartbeats RENAME COLUMN detail TO details")
    SupervisorHeartbeat(postgres_url, "one").write(REPORT, "healthy")
    assert "detail" in caplog.text
    assert "cannot be written" in caplog.text
