"""The alert of a stream that is lost again and again: it names the reason, and closes once a connection has held."""

from __future__ import annotations

import asyncio

from crypto_pipeline.ingest.session import Session
from crypto_pipeline.ingest.term_state import TermState

#: Lost so often in a row, a connection raises the alert.
LOSSES = 3
_SHOWN = 20


class StreamAlert:
    """One alert about the venue's stream, raised and closed by one term of one shard."""

    def __init__(self, state: TermState, session: Session) -> None:
        self._state, self._session = state, session
        #: count of lost connections and the reason that the open alert states
        self._stated: tuple[int, str] | None = None
        self._checked_earlier = False

    @property
    def source(self) -> str:
        """Name of the alert: that of the lease, as each shard has a stream of its own."""
        return f"stream:{self._state.lease.holder.name}"

    async def update(self) -> None:
        """Raise the alert for connections that were lost LOSSES times in a row; close it when none is left."""
        troubles, checks = self._session.troubles, self._state.store.checks
        bad = [one for one in troubles.values() if one.times >= LOSSES or one.lasting]
        if not bad:
            # an earlier process may have left the alert open
            earlier = not self._checked_earlier and self._session.up
            if not troubles and (self._stated is not None or earlier):
                await asyncio.to_thread(checks.resolve_alert, self.source)
                self._stated, self._checked_earlier = None, True
            return
        worst = max(bad, key=lambda one: (one.lasting, one.times))
        news = (len(bad), worst.reason)
        if news == self._stated:
            return
        names = sorted(name for one in bad for name in one.instruments)
        summary = (
            worst.reason
            if worst.lasting
            else f"{self._state.venue.name}: the stream was lost {worst.times} times in a row: {worst.reason}. It is "
            "tried again with growing pauses; trades come by REST meanwhile"
        )
        detail = {"links": len(bad), "instruments": names[:_SHOWN], "count": len(names), "reason": worst.reason}
        await asyncio.to_thread(checks.raise_alert, self.source, "error", summary, detail)
        self._stated = news
