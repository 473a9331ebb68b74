"""Resources: the market database with its venue, and the scope of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import dagster as dg
from pydantic import Field

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.healing.pipeline import KEPT_FOR_LIVE
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store, resolve_url

T = TypeVar("T")


class Scope(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which instruments a run touches."""

    instruments: list[str] = Field(
        default=[],
        description="Canonical symbols, for example BTC-USDT and ETH-USDT. Empty: every active instrument.",
    )


class Market(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The market database and the venue that feeds it, as the settings of the process say."""

    @contextmanager
    def store(self) -> Iterator[Store]:
        """An open store for the length of one step."""
        settings = load_settings()
        with Store(resolve_url(settings), batch_rows=settings.write_batch_rows) as store:
            yield store

    def run(self, work: Callable[[Pipeline], Awaitable[T]], *, live: bool = False, keep: float = KEPT_FOR_LIVE) -> T:
        """Run ``work`` with a pipeline on an open store and venue; both are closed afterwards.

        What is ``live`` may use the part ``keep`` of the venue's budget that others leave alone.
        """

        async def main(store: Store) -> T:
            async with Pipeline.open(store, load_settings(), live=live, keep=keep) as pipeline:
                return await work(pipeline)

        with self.store() as store:
            return asyncio.run(main(store))
