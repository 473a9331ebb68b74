"""Definitions run for real: an ephemeral Dagster instance, a real database, a real exchange on a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base import partitions as layout
from crypto_pipeline.market import Instrument
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.store import Store


@dataclass
class Deployed:
    """Exchange, store and Dagster instance that see each other through the environment."""

    exchange: ReplayExchange
    store: Store
    instance: dg.DagsterInstance

    def run(
        self,
        job: str,
        *,
        tags: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
        only: Sequence[str] = (),
    ) -> Any:
        """Run a job of the definitions to its end in this process; of its assets ``only`` these, with their checks."""
        return (
            defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                tags=tags,
                run_config=config,
                raise_on_error=False,
                asset_selection=[dg.AssetKey(name) for name in only] or None,
            )
        )


@pytest.fixture(autouse=True)
def partitions_of_the_usual_settings() -> None:
    """Partitions are laid down once for a process: not by the settings of the test that happens to run first."""
    layout.partitions()


@pytest.fixture
def deploy(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Deployed]]:
    """``deploy(*symbols, faults=…)``: an exchange of the generated market whose clock runs with ours."""
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_HEAL_BACKOFF", "0.001")
    monkeypatch.setenv("CRYPTO_PIPELINE_INGEST", "true")
    with dg.DagsterInstance.ephemeral() as instance, Store(postgres_url) as store:
        contexts: list[Any] = []

        def make(*symbols: str, **options: Any) -> Deployed:
            context = running_exchange(instruments=",".join(symbols), weight_limit=0, **options)
            exchange = context.__enter__()
            contexts.append(context)
            monkeypatch.setenv("CRYPTO_PIPELINE_REPLAY_PORT", str(exchange.port))
            store.instruments.add([Instrument.crypto(symbol) for symbol in symbols])
            return Deployed(exchange, store, instance)

        yield make
        for context in contexts:
            context.__exit__(None, None, None)


@pytest.fixture
def span() -> tuple[datetime, datetime]:
    """The last two days and what there is of today."""
    now = datetime.now(UTC)
    return now - timedelta(days=2), now


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[datetime], None]]:
    """``history(day)``: partitions begin on that day (of bars on its Monday) until the test ends."""
    before = layout.partitions()

    def lay_down(partitions: layout.Partitions) -> None:
        monkeypatch.setattr(layout, "read_partitions", lambda *_: partitions)
        layout.partitions.cache_clear()

    yield lambda day: lay_down(layout.Partitions.from_history(day, timedelta(0)))
    lay_down(before)
    layout.partitions()  # those of the definitions that other tests share, whatever database they use
    monkeypatch.undo()
