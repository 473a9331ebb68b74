"""Resources: the market database with its venue, and the scope of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import dagster as dg
from pydantic import Field

from crypto_pipeline.healing import Deployment, Pipeline
from crypto_pipeline.healing.pipeline import KEPT_FOR_LIVE
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.process_store import open_store
from crypto_pipeline.venues import settings_at

T = TypeVar("T")


class RunScope(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which instruments a run touches."""

    instruments: list[str] = Field(
        default=[],
        description="Canonical symbols, for example BTC-USDT and ETH-USDT. Empty: every active instrument.",
    )


class MarketDatabase(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The market database and the venue that feeds it, as the settings of the process say."""

    @contextmanager
    def store(self) -> Iterator[Store]:
        """An open store for the length of one step."""
        with open_store(load_settings()) as store:
            yield store

    def run(
        self,
        work: Callable[[Deployment], Awaitable[T]],
        *,
        live: bool = False,
        keep: float = KEPT_FOR_LIVE,
        settings: Settings | None = None,
    ) -> T:
        """Run ``work`` with the pipelines of all venues on an open store; everything is closed afterwards.

        ``live`` work may use the share ``keep`` of a venue's request budget that other work leaves alone.
        ``settings``: those of one other venue than the process's own.
        """

        async def main(store: Store) -> T:
            async with Deployment.open(store, settings or load_settings(), live=live, keep=keep) as deployment:
                return await work(deployment)

        with self.store() as store:
            return asyncio.run(main(store))

    def run_at(self, venue: str, work: Callable[[Pipeline], Awaitable[T]], *, live: bool = False) -> T:
        """Run ``work`` with the pipeline of one venue on an open store; ``live`` as for ``run``."""
        settings = settings_at(load_settings(), venue)

        async def main(store: Store) -> T:
            async with Pipeline.open(store, settings, live=live) as pipeline:
                return await work(pipeline)

        with self.store() as store:
            return asyncio.run(main(store))


def shared() -> dg.Definitions:
    """What every definition may use: the resources and the executor."""
    return dg.Definitions(
        resources={"database": MarketDatabase(), "scope": RunScope()},
        # A step is a function call on a shared database: a process for each would cost more than the work.
        executor=dg.in_process_executor,
    )
