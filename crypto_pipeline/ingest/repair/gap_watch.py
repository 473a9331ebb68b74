"""Looking after the holes: what the ids, the venue's own words and silence say is missing, asked for and put in."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Series, Written
from crypto_pipeline.ingest.aggregation.trade_ids import Hole
from crypto_pipeline.ingest.recovery import Start, plan_recovery
from crypto_pipeline.ingest.repair.read_back import Proofreader
from crypto_pipeline.ingest.repair.rest_answers import Answers
from crypto_pipeline.ingest.repair.rest_requests import moment
from crypto_pipeline.ingest.silence import Silence
from crypto_pipeline.ingest.trade_buffer import Overflow
from crypto_pipeline.market.bars import Source
from crypto_pipeline.venues import TradesAnswer

if TYPE_CHECKING:
    from crypto_pipeline.ingest.term import Ingest

log = logging.getLogger(__name__)

#: A trade that came out of order closes its hole by itself within this time; the venue's word on a trade may
#: overtake the trade. Seconds.
_ORDER, _OVERTAKEN, _RECONNECTED = 0.3, 1.0, 2.0
#: REST is asked about the same hole or minute so often; then the venue does not have it.
_ASKS = 4
#: The longest pause before a trade is asked for again that the venue tells of and does not show. Seconds.
_LONGEST_DENIAL = 900.0


@dataclass(slots=True)
class Chase:
    """A hole that is being asked for: when again, how often it was, how often REST lacked it too."""

    due: float
    asks: int = 0
    denied: int = 0


class Watch:
    """The eyes of one term. Everything here runs in the term's event loop."""

    def __init__(self, ingest: Ingest) -> None:
        self.ingest = ingest
        self.silence = Silence()
        self.proofreader = Proofreader(ingest)
        self.answers = Answers(ingest)
        self.found = 0
        self.filled = 0
        self._holes: dict[tuple[str, int, int], Chase] = {}
        self._behind: dict[str, list[float]] = {}
        #: instruments whose newest trade REST did not show either: how often in a row, not asked for before when
        self._denied: dict[str, tuple[int, float]] = {}
        self.recovering: dict[str, int] = {}
        #: of these, those that the venue fails for: nobody waits for them
        self._excused: set[str] = set()
        self.recovered = asyncio.Event()
        self.suspects: set[str] = set()
        self._checked: dict[str, float] = {}
        self._lost: list[Overflow] = []
        self._slow_at = 0.0
        self._told = (0, 0, 0)

    # -- looking --------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """One round."""
        ingest, now = self.ingest, time.monotonic()
        aggregator, now_ms = ingest.aggregator, ingest.clock.now_ms()
        if len(ingest.buffer) > ingest.buffer.limit:
            self._overflowed(ingest.buffer.relieve(aggregator))
        for series, hole in aggregator.holes():
            self._hole(series, hole, now)
        if not self.catching_up:
            self._doubts(now, now_ms)
            for series in aggregator.series.values():
                if series.behind:
                    self._lags(series, now, now_ms)
                elif max(series.anchor_id, series.single_id) >= 0:  # what was told of is there
                    self._behind.pop(series.symbol, None)
                    self._denied.pop(series.symbol, None)
        for symbol, open_ms in list(aggregator.late):
            # the copy that is stored may be a live one: what corrects it must not rank below
            self._again(symbol, open_ms, Written(True, str(Source.LIVE_AGGREGATED)), "late trade")
        self._reconnects(now, now_ms)
        if now - self._slow_at >= 1.0:
            self._slow_at = now
            self._slowly(now, now_ms)
            await self._record_lost()

    async def proofread(self) -> None:
        """One round of reading again; by itself, because the database may keep it waiting."""
        if not self.catching_up:
            for symbol, open_ms, source in await self.proofreader.look(self.ingest.clock.now_ms()):
                self.found += 1
                self._again(symbol, open_ms, Written(True, source) if source else None, "trades and bar differ")

    def _again(self, symbol: str, open_ms: int, written: Written | None, why: str) -> None:
        self.ingest.aggregator.reopen(symbol, open_ms, written)
        self._ask(symbol, open_ms, open_ms + MINUTE, why)

    def _hole(self, series: Series, hole: Hole, now: float) -> None:
        """A jump in the ids: asked for at once, unless the trades are only out of order."""
        key = series.symbol, hole.first, hole.last
        chase = self._holes.get(key)
        if chase is None:
            chase = self._holes[key] = Chase(now + _ORDER)
        if now < chase.due or self.ingest.repairs.wants(series.symbol):
            return
        if chase.asks == 0:
            self.found += 1
        chase.asks += 1
        chase.due = now + min(30.0, _ORDER * 2**chase.asks)
        # an id far below all others may carry a time above theirs: then it is the one in doubt
        start, end = (hole.start_ms, hole.end_ms) if hole.start_ms <= hole.end_ms else (hole.start_ms, hole.start_ms)
        self._ask(series.symbol, start, end + 1, f"ids {hole.first} to {hole.last} are missing")

    def hidden(self, series: Series, answer: TradesAnswer) -> None:
        """Ids that REST lacks too, between two that it states, are not to be had: it is asked twice."""
        ids = {*answer.trades["trade_id"].to_list(), answer.id_before, answer.id_after}
        for hole in series.ids.holes():
            chase = self._holes.get((series.symbol, hole.first, hole.last))
            if chase is None or hole.first - 1 not in ids or hole.last + 1 not in ids:
                continue
            chase.denied += 1
            if chase.denied >= 2:
                log.warning("%s: the venue does not show the ids %d to %d", series.symbol, hole.first, hole.last)
                self.ingest.aggregator.void(series, hole)

    def _lags(self, series: Series, now: float, now_ms: int) -> None:
        """The venue told of a trade that we do not have."""
        seen = self._behind.setdefault(series.symbol, [now, 0])
        times, not_before = self._denied.get(series.symbol, (0, 0.0))
        if now - seen[0] < _OVERTAKEN or now < not_before or self.ingest.repairs.wants(series.symbol):
            return
        if seen[1] >= _ASKS:  # it was not true, or of another kind of id
            series.anchor_id = series.single_id = -1
            del self._behind[series.symbol]
            self._denied[series.symbol] = times + 1, now + min(_LONGEST_DENIAL, 2.0 ** min(times + 2, 16))
            return
        seen[1] += 1
        seen[0] = now
        since = series.last.time_ms if series.last is not None else now_ms - now_ms % MINUTE
        self._ask(series.symbol, since, now_ms + 1, "the venue knows of newer trades")

    def _doubts(self, now: float, now_ms: int) -> None:
        aggregator = self.ingest.aggregator
        if aggregator.states_bars:
            aggregator.open_minutes(now_ms)
        for series, minute in aggregator.doubts(now_ms):
            if now < minute.again:
                continue
            if minute.asks == 0 and minute.again == 0.0:
                # the venue's own bar comes up to two seconds after the minute, and the clock is not all that exact
                minute.again = now + 0.5
                continue
            minute.asks += 1
            minute.again = now + min(60.0, 1.0 * 2**minute.asks)
            if minute.asks <= _ASKS and not minute.sealed:
                self._ask(series.symbol, minute.open_ms, minute.end_ms, "a minute that is not proven")
            if minute.asks <= _ASKS and (minute.sealed or minute.asks > 1):
                self.ask_bars(series.symbol, minute.open_ms, minute.end_ms)

    def _slowly(self, now: float, now_ms: int) -> None:
        ingest = self.ingest
        for symbol, open_ms in ingest.aggregator.let_go(now_ms):
            log.warning("%s: the minute %s stays unproven", symbol, moment(open_ms))
            ingest.unproven.append((symbol, moment(open_ms)))
        for series in self.silence.suspects(list(ingest.aggregator.series.values()), now):
            if series.last is not None:
                self.suspects.add(series.symbol)
                self._ask(series.symbol, series.last.time_ms, now_ms + 1, "silent: quiet or dead?")
        known = {(series.symbol, hole.first, hole.last) for series, hole in ingest.aggregator.holes()}
        for key in [key for key in self._holes if key not in known]:
            if self._holes.pop(key).asks:
                self.filled += 1

    # -- after a cut ----------------------------------------------------------------------------------------------

    def reconnected(self, names: list[str]) -> None:
        """A link is up again: whoever does not speak soon is asked for by REST."""
        due = time.monotonic() + _RECONNECTED
        self._checked.update(dict.fromkeys(names, due))

    def _reconnects(self, now: float, now_ms: int) -> None:
        for symbol, due in list(self._checked.items()):
            if now < due:
                continue
            del self._checked[symbol]
            series = self.ingest.aggregator.series.get(symbol)
            if series is not None and series.last is not None and series.last.time_ms < (series.linked_ms or now_ms):
                self._ask(symbol, series.last.time_ms, now_ms + 1, "after a cut")

    # -- at the start ---------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """From what is stored to now; returns when every instrument has caught up."""
        ingest = self.ingest
        now_ms = ingest.clock.now_ms()
        window = int(ingest.settings.ingest_recover_seconds * 1000)
        starts = await asyncio.to_thread(
            plan_recovery, ingest.holder.store, ingest.venue.name, ingest.names, now_ms, window
        )
        self.recovering = {start.symbol: now_ms for start in starts}
        if ingest.session.stream.stream_traits.contiguous_ids:
            self.proofreader.begin(starts)
        for start in starts:
            self._begin(start, now_ms)
        if not self.recovering:
            self.recovered.set()
        await self.recovered.wait()

    @property
    def catching_up(self) -> bool:
        """Whether an instrument that the venue answers for is not caught up yet."""
        return not self._excused.issuperset(self.recovering)

    def excuse(self, symbol: str) -> None:
        """Let the others begin without this instrument; it catches up when the venue answers for it."""
        if symbol in self.recovering:
            self._excused.add(symbol)
            self._look_whether_recovered()

    def caught_up(self, symbol: str) -> None:
        """Nothing of this instrument is left to catch up with."""
        if self.recovering.pop(symbol, None) is not None:
            self._look_whether_recovered()

    def _look_whether_recovered(self) -> None:
        if not self.catching_up:
            self.recovered.set()

    def _begin(self, start: Start, now_ms: int) -> None:
        series = self.ingest.aggregator.series[start.symbol]
        series.gone_ms = series.far_ms = start.since_ms
        for open_ms, written in start.written.items():
            if open_ms >= start.since_ms:
                series.minute(open_ms).written = written
        if start.bars_ms is not None:
            self.found += 1
            self.ask_bars(start.symbol, start.bars_ms, start.since_ms)
        self._ask(start.symbol, start.since_ms, now_ms + 1, "recovery")

    # -- what overflowed ------------------------------------------------------------------------------------------

    def _overflowed(self, lost: list[Overflow]) -> None:
        if lost:
            log.error("memory is full: let go of %d trades, to be fetched again", sum(each.trades for each in lost))
            self._lost += lost
            self.found += len(lost)

    async def _record_lost(self) -> None:
        """Write down what was let go of, and fetch it again once the database takes things."""
        ingest = self.ingest
        if not self._lost or len(ingest.buffer) > ingest.buffer.limit // 2:
            return
        lost, self._lost = self._lost, []
        rows = [
            (
                *(each.instrument, "1m", moment(each.open_ms), moment(each.open_ms + MINUTE), "lost"),
                json.dumps({"because": "memory was full", "first_id": each.first_id, "last_id": each.last_id}),
            )
            for each in {(each.instrument, each.open_ms): each for each in lost}.values()
        ]
        columns = ["instrument", "timeframe", "start", "end", "state", "evidence"]
        try:
            await asyncio.to_thread(
                ingest.holder.store.ledger.record, pl.DataFrame(rows, schema=columns, orient="row").sort(columns[:3])
            )
        except BaseException:
            self._lost = lost + self._lost
            raise
        for each in lost:
            ingest.aggregator.reopen(each.instrument, each.open_ms)
            self._ask(each.instrument, each.open_ms, each.open_ms + MINUTE, "memory was full")

    # -- asking ---------------------------------------------------------------------------------------------------

    def _ask(self, symbol: str, start_ms: int, end_ms: int, why: str) -> None:
        self.ingest.repairs.want(symbol, start_ms, end_ms, why)

    def ask_bars(self, symbol: str, start_ms: int, end_ms: int) -> None:
        """Have the venue's own bars asked for."""
        self.ingest.repairs.want(symbol, start_ms, end_ms, "the venue's own bars", bars=True)

    # -- figures --------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, int]:
        """Since they were last asked for."""
        now = (self.ingest.bars_made, self.found, self.filled)
        names = ("bars_made", "gaps_found", "gaps_filled")
        figures = {name: new - old for name, new, old in zip(names, now, self._told, strict=True)}
        self._told = now
        return figures

    def oldest_gap(self) -> datetime | None:
        """Begin of the oldest hole that is known and not filled."""
        oldest = self.ingest.repairs.oldest_ms
        return None if oldest is None else datetime.fromtimestamp(oldest / 1000, UTC)
