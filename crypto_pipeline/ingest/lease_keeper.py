"""Work under the lease of one term: repeated while PostgreSQL fails, with the lease taken again after it expired."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from crypto_pipeline.ingest.lease import Holder
from crypto_pipeline.store import LeaseLost, StoreError

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Pause before work is repeated that PostgreSQL failed, and before an expired lease is asked for again. Seconds.
_PAUSE = 0.5


class LeaseKeeper:
    """Renews the lease of one term. Use from the term's event loop, which it never blocks.

    ``lost`` is called when another process has the lease.
    """

    def __init__(self, holder: Holder, lost: Callable[[], None]) -> None:
        self.holder, self._lost = holder, lost
        self._retaking = asyncio.Lock()
        # A thread of its own: while PostgreSQL is slow, all threads of the default pool may be waiting for it.
        self._thread = ThreadPoolExecutor(1, "ingest-lease")

    async def beat(self, detail: Mapping[str, Any]) -> str | None:
        """Renew the lease and write the heartbeat row. Returns the holder that stands by. Raises LeaseLost."""
        return await self._in_thread(lambda: self.holder.beat(detail))

    async def repeat(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` every ``seconds`` until cancelled. A lost lease is taken again; a StoreError is logged."""
        due = time.monotonic()
        while True:
            await self._attempt(work)
            due = max(due + seconds, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def retry_until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` until it succeeds once. A lost lease is taken again; a StoreError is logged."""
        while True:
            if await self._attempt(work):
                return
            await asyncio.sleep(_PAUSE)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except LeaseLost:
            await self.retake()
        except StoreError as error:
            log.error("%s", error)
        else:
            return True
        return False

    async def retake(self) -> None:
        """Have the lease again, however long PostgreSQL is away.

        Where another process has the lease, this calls ``lost`` and never returns: the end of the term cancels it.
        """
        async with self._retaking:
            while True:
                try:
                    ours = await self._in_thread(self.holder.renew_or_retake)
                    break
                except StoreError as error:
                    log.error("cannot take the lease %s again yet: %s", self.holder.name, error)
                await asyncio.sleep(_PAUSE)
        if not ours:
            log.error("another process has the lease %s: nothing more is written", self.holder.name)
            self._lost()
            await asyncio.Event().wait()

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
