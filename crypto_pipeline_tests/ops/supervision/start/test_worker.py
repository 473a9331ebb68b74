"""The process that makes the databases ready and tells the progress, and the messages between it and its parent."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.processes import is_alive
from crypto_pipeline.ops.supervision.programs import environment
from crypto_pipeline.ops.supervision.start.worker import StartProgress, StartWorker
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store, StoreError, dagster_url

Start = Callable[[str], StartWorker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a worker for the database at a URL, and ends it after the test."""
    started = []

    def begin(url: str) -> StartWorker:
        given = {"database_url": url, "instruments": "BTC-USDT,ETH-USDT", "venue": "replay", "days": 1}
        settings = load_settings(data_dir=tmp_path / "data", **given)
        places = Places(settings.data_dir)
        places.make()
        dagster = dagster_url(settings, url)
        started.append(StartWorker(environment(settings, places, given, dagster)))
        return started[-1]

    yield begin
    for worker in started:
        worker.close()


def go_on(seconds: float) -> None:
    """A pause that never stops."""


@pytest.mark.own_server
def test_the_databases_are_made_ready_and_the_progress_is_told(start: Start, postgres_url: str) -> None:
    worker, said, migrated = start(postgres_url), [], []
    worker.make_ready(said.append, lambda: migrated.append(len(said)), go_on)
    assert migrated == [0], "ingest may start once our own database is migrated"
    assert said == ["collecting 2 instruments from replay"]
    with Store(postgres_url) as store:
        assert sorted(store.instruments.ids()) == ["BTC-USDT", "ETH-USDT"]
    first = next(worker.progress(go_on))
    assert isinstance(first, StartProgress)
    assert (first.complete, first.accounted) == (False, 0)
    assert first.checks_wanted > 10
    assert re.fullmatch(r"none of \d+ checks has run yet", first.checks_said)
    with Store(postgres_url) as store:
        store.checks.record_result("accounted_for", "1m", True, "error", "all there")
    assert re.fullmatch(r"1 of \d+ checks have run, all of them pass", next(worker.progress(go_on)).checks_said)


def test_an_error_of_the_work_is_raised_here(start: Start) -> None:
    worker = start("postgresql://nobody:wrong@127.0.0.1:1/missing")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1"):
        worker.make_ready(lambda _: None, lambda: None, go_on)


def test_a_process_that_ends_is_an_error_with_a_reason(start: Start, postgres_url: str) -> None:
    worker = start(postgres_url)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(OpsError, match="has ended"):
        worker.make_ready(lambda _: None, lambda: None, go_on)


def test_a_stop_is_noticed_while_it_works(start: Start, postgres_url: str) -> None:
    class StopError(Exception):
        pass

    def stop(_: float) -> None:
        raise StopError

    worker = start(postgres_url)
    with pytest.raises(StopError):
        worker.make_ready(lambda _: None, lambda: None, stop)
    worker.close()
    assert not is_alive(worker.pid)
