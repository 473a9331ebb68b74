"""The alert of a stream that is lost again and again: it says what came, and closes once a link has held."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crypto_pipeline.ingest.session import Trouble

if TYPE_CHECKING:
    from crypto_pipeline.ingest.term import Ingest

#: Lost so often in a row, a person is told.
TIMES = 3
_SHOWN = 20


class StreamAlert:
    """One alert of the venue's stream, raised and closed by one term of one shard."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._told: tuple[int, str] | None = None
        self._looked = False

    @property
    def source(self) -> str:
        """Name of the alert: of the lease, as each shard has a stream of its own."""
        return f"stream:{self._ingest.holder.name}"

    async def tell(self, troubles: Mapping[int, Trouble]) -> None:
        """Raise the alert for links that were lost TIMES in a row; close it when none is left in trouble."""
        bad = [one for one in troubles.values() if one.times >= TIMES]
        checks = self._ingest.holder.store.checks
        if not bad:
            # an earlier process may have left it open
            if not troubles and (self._told is not None or (not self._looked and self._ingest.session.up)):
                await asyncio.to_thread(checks.resolve_alert, self.source)
                self._told, self._looked = None, True
            return
        worst = max(bad, key=lambda one: one.times)
        news = (len(bad), worst.reason)
        if news == self._told:
            return
        names = sorted(name for one in bad for name in one.instruments)
        summary = (
            f"{self._ingest.venue.name}: the stream was lost {worst.times} times in a row: {worst.reason}. It is tried "
            "again with growing pauses; trades come by REST meanwhile"
        )
        detail = {"links": len(bad), "instruments": names[:_SHOWN], "count": len(names), "reason": worst.reason}
        await asyncio.to_thread(checks.raise_alert, self.source, "error", summary, detail)
        self._told = news
