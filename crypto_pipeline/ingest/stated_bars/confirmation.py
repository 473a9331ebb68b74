"""Asks REST for the minutes of which only the stream has spoken, and for those in which the stream was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

import polars as pl

from crypto_pipeline.ingest.repair.refusals import Refusals
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues import BarsAnswer, FetchPlan, VenueError

log = logging.getLogger(__name__)

_MINUTE = Timeframe.M1.milliseconds
#: REST is asked at most so often. Seconds.
_EVERY = 60.0
#: A minute that REST does not state is asked for again for so long.
_GIVE_UP = timedelta(days=1)
#: A loss of the stream may have cost so much before it was noticed. Milliseconds.
_UNNOTICED = 2 * 60_000


class Confirmation:
    """The minutes of one term that REST has to state. Use from the term's event loop."""

    def __init__(self, state: TermState, refusals: Refusals) -> None:
        self._state, self._refusals = state, refusals
        #: open times by instrument
        self._open: dict[str, set[int]] = {}
        #: since when the stream was lost, Unix ms; None: it was not
        self._lost_ms: int | None = None
        self.counters = dict.fromkeys(("asked", "filled", "failed", "given_up"), 0)
        self._told = [0, 0]

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def await_minute(self, instrument: str, open_ms: int) -> None:
        """Note a minute that was stored as the stream said it."""
        self._open.setdefault(instrument, set()).add(open_ms)

    def lost_at(self, now_ms: int) -> None:
        """Note that the stream was lost: what came since is asked for."""
        since = now_ms - now_ms % _MINUTE - _UNNOTICED
        self._lost_ms = since if self._lost_ms is None else min(since, self._lost_ms)

    async def load(self) -> None:
        """Note the stored minutes that are not complete. Raises StoreError."""
        state = self._state
        now = from_unix_ms(state.clock.now_ms())

        def read() -> pl.DataFrame:
            columns = ("instrument", "open_time", "complete")
            rows = state.store.reader.read(state.names, Timeframe.M1, now - _GIVE_UP, now, columns=columns)
            return rows.filter(~pl.col("complete"))

        for name, opened in (await asyncio.to_thread(read)).select("instrument", "open_time").iter_rows():
            self.await_minute(name, unix_ms(opened))

    @property
    def pause(self) -> float:
        """Seconds between two rounds: longer where a request for each instrument is much of what the key allows."""
        allowed = self._state.venue.traits.requests_per_minute
        least = 0.0 if allowed is None else 120.0 * len(self._state.instruments) / allowed
        return self._state.clock.seconds(max(_EVERY, least) * 1000)

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await asyncio.sleep(self.pause)
            await self._state.lease.retry_until_done(self.ask)

    async def ask(self) -> None:
        """One round: ask for everything that is due, and store what REST states. Raises StoreError."""
        state, traits = self._state, self._state.venue.traits
        # so late that the answer has every minute before it
        settled_ms = state.clock.now_ms() - int(traits.settle_delay.total_seconds() * 1000)
        end_ms = settled_ms - settled_ms % _MINUTE
        plans, lost_ms = self._plans(end_ms), self._lost_ms
        failed: set[str] = set()

        def on_error(plan: FetchPlan, error: VenueError) -> None:
            failed.add(plan.instrument)
            self.counters["failed"] += 1
            log.warning("%s is not confirmed yet: %s", plan.instrument, error)

        self.counters["asked"] += len(plans)
        async for answer in state.venue.bars_many(plans, archive=False, on_error=on_error):
            await self._store(answer)
        if plans and not failed and self._lost_ms == lost_ms:
            self._lost_ms = None
        self._give_up(settled_ms - int(_GIVE_UP.total_seconds() * 1000))

    def _plans(self, end_ms: int) -> list[FetchPlan]:
        plans = []
        for name, symbol in self._state.instruments:
            due = [open_ms for open_ms in self._open.get(name, ()) if open_ms < end_ms]
            begin = min([*due, *([] if self._lost_ms is None else [self._lost_ms])], default=end_ms)
            if begin < end_ms:
                last = max([open_ms + _MINUTE for open_ms in due], default=end_ms)
                span = from_unix_ms(begin), from_unix_ms(end_ms if self._lost_ms is not None else last)
                plans.append(FetchPlan(name, symbol, Timeframe.M1, [span]))
        return plans

    async def _store(self, answer: BarsAnswer) -> None:
        state = self._state
        result = await state.run_in(state.bar_thread, state.store.bars.write, answer.bars, Timeframe.M1)
        if answer.refused:
            await self._refusals.write_bars(answer)
        state.bars_made += result.inserted
        state.gaps_found += result.inserted
        state.gaps_filled += result.inserted
        stated = set(answer.bars["open_time"].to_physical().to_list())
        waiting = self._open.get(answer.instrument, set())
        self.counters["filled"] += len(waiting & stated)
        waiting -= stated

    def _give_up(self, before_ms: int) -> None:
        """Stop asking for minutes that REST did not state for a day: they stay as the stream said them."""
        for name, waiting in self._open.items():
            old = {open_ms for open_ms in waiting if open_ms < before_ms}
            if old:
                self.counters["given_up"] += len(old)
                log.warning("%s: REST does not state %d minutes that the stream had", name, len(old))
                waiting -= old

    def figures(self) -> Mapping[str, int]:
        """``bars_made``, ``gaps_found`` and ``gaps_filled`` since the last call."""
        state, told = self._state, self._told
        made, filled = state.bars_made - told[0], state.gaps_filled - told[1]
        self._told = [state.bars_made, state.gaps_filled]
        return {"bars_made": made, "gaps_found": filled, "gaps_filled": filled}
