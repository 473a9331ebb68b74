"""Trades that were dropped while memory was full: written into the ledger, and requested from the venue again."""

from __future__ import annotations

import asyncio
import json
import logging

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.ingest.repair.rest_requests import RestRequests
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.ingest.trade_buffer import DroppedMinute
from crypto_pipeline.market.times import from_unix_ms

log = logging.getLogger(__name__)

_BECAUSE = "memory was full"
_COLUMNS = ["instrument", "timeframe", "start", "end", "state", "evidence"]


class Overflow:
    """The minutes that one term dropped and that are not requested again yet."""

    def __init__(self, state: TermState, requests: RestRequests) -> None:
        self._state, self._requests = state, requests
        self._dropped: list[DroppedMinute] = []

    def relieve(self) -> None:
        """Drop the oldest minutes where the buffer is full."""
        state = self._state
        if len(state.buffer) <= state.buffer.limit:
            return
        if dropped := state.buffer.relieve(state.aggregator):
            trades = sum(each.trades for each in dropped)
            log.error("memory is full: %d trades were dropped and will be requested again", trades)
            self._dropped += dropped
            state.gaps_found += len(dropped)

    async def request_again(self) -> None:
        """Write down what was dropped and request it, once the database takes trades again. Raises StoreError."""
        state = self._state
        if not self._dropped or len(state.buffer) > state.buffer.limit // 2:
            return
        dropped, self._dropped = self._dropped, []
        rows = [
            (
                *(each.instrument, "1m", from_unix_ms(each.open_ms), from_unix_ms(each.open_ms + MINUTE), "lost"),
                json.dumps({"because": _BECAUSE, "first_id": each.first_id, "last_id": each.last_id}),
            )
            for each in {(each.instrument, each.open_ms): each for each in dropped}.values()
        ]
        frame = pl.DataFrame(rows, schema=_COLUMNS, orient="row").sort(_COLUMNS[:3])
        try:
            await asyncio.to_thread(state.store.ledger.record, frame)
        except BaseException:
            self._dropped = dropped + self._dropped
            raise
        for each in dropped:
            state.aggregator.reopen(each.instrument, each.open_ms)
            self._requests.add(each.instrument, each.open_ms, each.open_ms + MINUTE, _BECAUSE)
