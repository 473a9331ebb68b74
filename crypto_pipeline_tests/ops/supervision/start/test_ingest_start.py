"""A venue's ingest starts once an instrument of it is collected, whatever venues the universe names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crypto_pipeline.ingest import shards_with_instruments
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.ops.host.paths import Places, UpState
from crypto_pipeline.ops.supervision import health, supervisord
from crypto_pipeline.ops.supervision.programs import SupervisedProgram, programs
from crypto_pipeline.ops.supervision.start import ingest_start
from crypto_pipeline.ops.supervision.start.ingest_start import IngestStart
from crypto_pipeline.ops.supervision.start.initial_instruments import begin_collecting
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store

_SLEEP = ["sleep", "600"]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "data")
    found.make()
    return found


@pytest.fixture
def settings(places: Places, tmp_path: Path, postgres_url: str) -> Settings:
    """Two venues, and a choice that is of the first one alone."""
    universe = tmp_path / "mine.toml"
    universe.write_text(
        '[[group]]\ntier = "large"\nsymbols = ["BTC"]\n[[group]]\ntier = "large"\nvenue = "kraken"\nsymbols = ["BTC"]\n'
    )
    return load_settings(
        data_dir=places.data_dir, universe_file=universe, instruments="BTC-USDT", database_url=postgres_url
    )


@pytest.fixture
def ingest(settings: Settings, places: Places) -> list[SupervisedProgram]:
    """The ingest programs, with commands that sleep."""
    found = programs(settings, places, {"ui": 1, "replay": 2})
    return [replace(one, command=_SLEEP) for one in found if one.name.startswith("ingest-")]


@pytest.fixture
def client(places: Places, ingest: list[SupervisedProgram]) -> Iterator[supervisord.Supervisord]:
    supervisord.write_config(places, ingest)
    daemon = supervisord.spawn(places, dict(os.environ))
    client = supervisord.Supervisord(str(places.socket("supervisor")))
    try:
        deadline = time.monotonic() + 30
        while not client.reachable():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield client
    finally:
        daemon.terminate()
        daemon.wait(30)


def running(client: supervisord.Supervisord) -> set[str]:
    return {info.name for info in client.processes() if info.running}


def test_ingest_of_a_venue_starts_with_its_first_instrument(
    settings: Settings,
    places: Places,
    ingest: list[SupervisedProgram],
    client: supervisord.Supervisord,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest_start, "_LOOK_EVERY", 0.0)
    assert [program.name for program in ingest] == ["ingest-0", "ingest-kraken-0"]
    socket = str(places.socket("supervisor"))
    state = UpState(os.getpid(), "healthy", 1.0, {"ui": "http://127.0.0.1:1"}, {"ui": 1}, {}, True, socket)
    with Store(postgres_url) as store:
        start = IngestStart(settings, postgres_url, ingest)
        start.start(client)
        assert running(client) == {"ingest-0"}, "a new deployment starts what its choice needs"
        assert begin_collecting(store, settings) == ["BTC-USDT"]
        start.look(client)
        assert running(client) == {"ingest-0"}
        assert [shard.name for shard in shards_with_instruments(settings, store)] == ["ingest-0"]
        # what is not started is not ill, and its venue is not asked
        found = health.ask(settings, places, state)
        assert [info.name for info in found.processes] == ["ingest-0"]
        assert found.troubles["ingest-0"] == "starting"
        assert "kraken" not in str(found.troubles)
        assert found.notes["ingest-kraken-0"] == "is not started: no instrument of its venue is collected"
        # an instrument is added while all runs
        store.instruments.add([Instrument.crypto("BTC-USDT@kraken")])
        start.look(client)
        assert running(client) == {"ingest-0", "ingest-kraken-0"}
        assert start.waiting == []
        assert len(shards_with_instruments(settings, store)) == 2
        assert "ingest-kraken-0" in health.ask_ingest(settings, client.processes())
        # after a restart the database says which venues have instruments
        store.instruments.remove("BTC-USDT")
        again = IngestStart(settings, postgres_url, ingest)
        client.stop("ingest-0")
        client.stop("ingest-kraken-0")
        client.await_stopped(["ingest-0", "ingest-kraken-0"], 10)
        again.start(client)
        assert running(client) == {"ingest-kraken-0"}


def test_the_only_venue_of_a_deployment_needs_no_instrument(places: Places, postgres_url: str) -> None:
    settings = load_settings(data_dir=places.data_dir, database_url=postgres_url)
    (ingest,) = [one for one in programs(settings, places, {"ui": 1, "replay": 2}) if one.name.startswith("ingest-")]
    assert ingest.venue is None
    with Store(postgres_url) as store:
        assert [shard.name for shard in shards_with_instruments(settings, store)] == ["ingest-0"]
