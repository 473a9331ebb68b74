"""What ``doctor`` looks at: this machine will do, and each thing that will not is named with what to do."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.requirements import Requirement as Wanted

from crypto_pipeline.ops.doctor import machine, network, packages, places
from crypto_pipeline.ops.doctor.examination import examine, looks
from crypto_pipeline.ops.doctor.requirements import Requirement, exit_code
from crypto_pipeline.ops.host.disk_space import DiskLimits
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.pgbouncer import as_role

LOOKS = [
    "python", "machine", "processors", "memory", "shared memory", "open files", "locale", "time zones", "packages",
    "libraries", "data directory", "disk", "database", "ports", "venue",
]  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", ui_port=0, api_port=0, replay_port=0)


def test_the_machine_of_the_tests_will_do(settings: Settings) -> None:
    found = list(examine(settings))
    assert [one.name for one in found] == LOOKS
    assert {one.status for one in found} <= {"ok", "note"}, found
    assert all(bool(one.fix) == (one.status != "ok") for one in found)
    assert exit_code(found) == 0
    assert not settings.data_dir.exists(), "nothing is changed"
    assert [name for name, _ in looks(settings, offline=True)] == LOOKS[:-1]


@pytest.mark.parametrize(
    ("name", "value", "look", "status", "said"),
    [
        ("OLDEST", (3, 99), machine.python, "bad", "Install Python 3.99"),
        ("NEWEST", (3, 1), machine.python, "note", "use one of these"),
        ("LEAST_MEMORY", 10**15, machine.memory_size, "bad", "1,000.0 TB or more"),
        ("GOOD_MEMORY", 10**15, machine.memory_size, "note", "more for hundreds"),
        ("_FILES", 10**9, machine.open_files, "bad", "ulimit"),
        ("_ZONE", "Nowhere/At_All", machine.time_zones, "bad", "pip install tzdata"),
    ],
)
def test_what_is_too_little_is_named_with_the_fix(
    name: str, value: object, look: Callable[[], Requirement], status: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look().status == "ok"
    monkeypatch.setattr(machine, name, value)
    found = look()
    assert (found.status, exit_code([found])) == (status, int(status == "bad"))
    assert said.split()[0] in found.fix or "LimitNOFILE" in found.fix


def test_shared_memory_that_is_absent_or_small_is_a_note(tmp_path: Path) -> None:
    absent = machine.shared_memory(tmp_path / "none")
    assert (absent.status, "files instead" in absent.fix) == ("note", True)


def test_packages_that_are_absent_or_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["not-there>=1", "polars>=99", "numpy", 'stranger; extra == "other"', 'absent-too; extra == "server"']
    monkeypatch.setattr(packages, "requires", lambda _: lines)
    found = packages.packages()
    assert found.status == "bad"
    assert "absent: absent-too, not-there" in found.found
    assert "(wanted: >=99)" in found.found
    assert "stranger" not in found.found
    assert found.fix == "Run `pip install 'crypto-pipeline[server]'` in a fresh environment."


def test_extras_of_extras_are_followed() -> None:
    lines = ["a", 'crypto-pipeline[models]; extra == "server"', 'b; extra == "server"', 'c; extra == "models"']
    assert [one.name for one in packages.required([Wanted(each) for each in lines], "server")] == ["a", "c", "b"]
    assert [one.name for one in packages.required([Wanted(each) for each in lines], "")] == ["a"]


def test_a_package_that_does_not_start_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    # a package whose name is no module, and one that is not installed at all, which `packages` names
    monkeypatch.setattr(packages, "COMPILED", {"python-dateutil": "look elsewhere", "not-there": "never"})
    [found] = packages.libraries()
    assert (found.status, found.fix) == ("bad", "Look elsewhere.")
    assert "python-dateutil does not start: SyntaxError" in found.found


def test_a_folder_that_is_none_and_a_disk_that_is_full(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    found = places.data_directory(load_settings(data_dir=tmp_path / "file" / "data"))
    assert (found.status, "is no folder" in found.found, "--data-dir" in found.fix) == ("bad", True, True)
    assert places.data_directory(load_settings(data_dir="/proc/self/data")).status == "bad"
    monkeypatch.setattr(places, "GOOD_DISK", 10**18)
    assert places.disk(settings).status == "note"
    limits = DiskLimits(reserve=10**18, stop=1, warn=1)
    monkeypatch.setattr(DiskLimits, "of", lambda *_: limits)
    found = places.disk(settings)
    assert (found.status, found.fix.startswith("Free ")) == ("bad", True)


def test_a_port_that_is_taken_is_named_with_its_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = network.ports(load_settings(data_dir=tmp_path, ui_port=0, replay_port=0, api_port=port))
    assert found.status == "bad"
    assert f"port {port}" in found.fix
    assert "--api-port N" in found.fix


def test_a_venue_is_asked_and_its_clock_compared(tmp_path: Path) -> None:
    def ask(url: str) -> dict[str, Requirement]:
        found = network.venue(load_settings(data_dir=tmp_path, venue="binance", binance_url=url, request_timeout=5))
        return {one.name: one for one in found}

    with running_exchange(instruments="BTCUSDT") as exchange:
        assert {one.status for one in ask(exchange.url).values()} == {"ok"}
    with running_exchange(instruments="BTCUSDT", now=datetime.now(UTC) - timedelta(hours=3)) as late:
        found = ask(late.url)
        assert (found["venue"].status, found["clock"].status) == ("ok", "bad")
        assert "-10800" in found["clock"].found.replace(",", "")
    found = ask(late.url)  # it is closed now
    assert (found["venue"].status, found["clock"].status) == ("bad", "unknown")
    assert "HTTPS_PROXY" in found["venue"].fix


@pytest.mark.own_server
def test_a_database_of_ones_own_and_the_rights_in_it(new_database: NewDatabase, pgbouncer_role: str) -> None:
    def look(given: str) -> Requirement:
        return places.own_database(load_settings(database_url=given))

    with new_database("doctor_in_tests") as url:
        found = look(url)
        assert (found.status, found.fix) == ("ok", "")
        assert "UTF8, 200 connections" in found.found
        lacking = look(as_role(url))
        assert lacking.status == "bad"
        assert 'GRANT CREATE ON DATABASE "doctor_in_tests"' in lacking.fix
        assert f'CREATE DATABASE "doctor_in_tests_dagster" OWNER "{pgbouncer_role}"' in lacking.fix
        with connect(url) as connection:  # what it says helps
            connection.execute(f"GRANT CREATE ON DATABASE doctor_in_tests TO {pgbouncer_role}")
            connection.execute(f"GRANT CREATE ON SCHEMA public TO {pgbouncer_role}")
            connection.execute(f'CREATE DATABASE doctor_in_tests_dagster OWNER "{pgbouncer_role}"')
        assert look(as_role(url)).status == "ok"
        with connect(url) as connection:
            connection.execute("DROP DATABASE doctor_in_tests_dagster")
        assert look(with_database(url, "not_made_yet")).status == "ok"
    away = look("postgresql://somebody:secret@127.0.0.1:1/market")
    assert (away.status, "secret" in away.found + away.fix) == ("bad", False)


def test_the_embedded_programs_are_looked_at(settings: Settings) -> None:
    (settings.data_dir / "postgres" / "data").mkdir(parents=True)
    assert places.database_programs(settings).status == "ok"
    (settings.data_dir / "postgres" / "data" / "PG_VERSION").write_text("9")
    found = places.database_programs(settings)
    assert (found.status, "PostgreSQL 9" in found.fix) == ("bad", True)


def test_a_look_that_fails_is_a_finding(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "version_info")
    first = next(examine(settings))
    assert (first.name, first.status) == ("python", "unknown")
    assert "AttributeError" in first.found
