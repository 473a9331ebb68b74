"""Watching for missing trades: what ids, the venue's own statements and silence say is missing is requested by REST."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, InstrumentStream, Written
from crypto_pipeline.ingest.aggregation.trade_ids import IdHole
from crypto_pipeline.ingest.recovery import CatchUp, Start
from crypto_pipeline.ingest.repair.overflow import Overflow
from crypto_pipeline.ingest.repair.read_back import ReadBack
from crypto_pipeline.ingest.repair.rest_requests import RestRequests
from crypto_pipeline.ingest.repair.silence import Silence
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.venues import TradesAnswer

log = logging.getLogger(__name__)

#: Trades out of order close their hole themselves within this time. Seconds.
_OUT_OF_ORDER = 0.3
#: What the venue says of its newest trade may arrive this long before the trade itself. Seconds.
_OVERTAKEN = 1.0
#: After a connection is up again, an instrument without news for this long is requested. Seconds.
_RECONNECTED = 2.0
#: REST is asked so often about one hole or minute; then the venue does not have it.
_REQUESTS = 4
#: The longest pause before a trade is requested again that the venue announces and does not show. Seconds.
_LONGEST_DENIAL = 900.0


@dataclass(slots=True)
class HoleRequest:
    """A hole in the ids that is requested by REST.

    Attributes:
        due: When to ask again, monotonic time.
        requests: How often it was asked for.
        denied: How often REST lacked it too.
    """

    due: float
    requests: int = 0
    denied: int = 0


class GapWatch:
    """Finds what is missing in one term. Everything here runs in the term's event loop."""

    def __init__(self, state: TermState, requests: RestRequests) -> None:
        self._state, self._requests = state, requests
        self.silence = Silence()
        self.read_back = ReadBack(state)
        self.catch_up = CatchUp()
        self._overflow = Overflow(state, requests)
        self._holes: dict[tuple[str, int, int], HoleRequest] = {}
        #: instruments of which the venue has a newer trade: time of the last request, and how many there were
        self._behind: dict[str, list[float]] = {}
        #: instruments whose newest trade REST did not show: how often in a row, and not to be requested before
        self._denied: dict[str, tuple[int, float]] = {}
        #: instruments that are silent beyond their habit and are being asked about
        self._suspects: set[str] = set()
        #: instruments whose connection was lost: requested after this time, unless there is news of them
        self._reconnected: dict[str, float] = {}
        self._each_second_at = 0.0
        self._reported = (0, 0, 0)

    # -- watching -------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """One round over everything in memory. Raises StoreError."""
        state, now = self._state, time.monotonic()
        aggregator, now_ms = state.aggregator, state.clock.now_ms()
        self._overflow.relieve()
        for stream, hole in aggregator.holes():
            self._ask_hole(stream, hole, now)
        if not self.catch_up.running:
            self._ask_unproven(now, now_ms)
            for stream in aggregator.streams.values():
                if stream.behind:
                    self._ask_newer_trades(stream, now, now_ms)
                elif max(stream.anchor_id, stream.single_id) >= 0:  # the trade that the venue announced has arrived
                    self._behind.pop(stream.symbol, None)
                    self._denied.pop(stream.symbol, None)
        for symbol, open_ms in list(aggregator.late):
            # the stored copy may be a live one: the correction must not rank below it
            self._reopen_and_ask(symbol, open_ms, Written(True, str(BarOrigin.LIVE_AGGREGATED)), "late trade")
        self._ask_after_reconnect(now, now_ms)
        if now - self._each_second_at >= 1.0:
            self._each_second_at = now
            self._each_second(now, now_ms)
            await self._overflow.request_again()

    async def check_stored(self) -> None:
        """One round over stored minutes; a task of its own, because the database may keep it waiting. StoreError."""
        if not self.catch_up.running:
            for symbol, open_ms, source in await self.read_back.minutes_to_request(self._state.clock.now_ms()):
                self._state.gaps_found += 1
                written = Written(True, source) if source else None
                self._reopen_and_ask(symbol, open_ms, written, "trades and bar differ")

    def _reopen_and_ask(self, symbol: str, open_ms: int, written: Written | None, why: str) -> None:
        self._state.aggregator.reopen(symbol, open_ms, written)
        self._requests.add(symbol, open_ms, open_ms + MINUTE, why)

    def _ask_hole(self, stream: InstrumentStream, hole: IdHole, now: float) -> None:
        """Request a jump in the ids at once, unless the trades are only out of order."""
        key = stream.symbol, hole.first, hole.last
        asked = self._holes.get(key)
        if asked is None:
            asked = self._holes[key] = HoleRequest(now + _OUT_OF_ORDER)
        if now < asked.due or self._requests.is_requested(stream.symbol):
            return
        if asked.requests == 0:
            self._state.gaps_found += 1
        asked.requests += 1
        asked.due = now + min(30.0, _OUT_OF_ORDER * 2**asked.requests)
        # an id far below all others may carry a time above theirs: then only that trade is in doubt
        start, end = (hole.start_ms, hole.end_ms) if hole.start_ms <= hole.end_ms else (hole.start_ms, hole.start_ms)
        self._requests.add(stream.symbol, start, end + 1, f"ids {hole.first} to {hole.last} are missing")

    def take_missing_ids(self, stream: InstrumentStream, answer: TradesAnswer) -> None:
        """Ids that REST lacks too, between two ids that it states, cannot be had: after two such answers they count as
        hidden by the venue."""
        ids = {*answer.trades["trade_id"].to_list(), answer.id_before, answer.id_after}
        for hole in stream.ids.holes():
            asked = self._holes.get((stream.symbol, hole.first, hole.last))
            if asked is None or hole.first - 1 not in ids or hole.last + 1 not in ids:
                continue
            asked.denied += 1
            if asked.denied >= 2:
                log.warning("%s: the venue does not show the ids %d to %d", stream.symbol, hole.first, hole.last)
                self._state.aggregator.void(stream, hole)

    def _ask_newer_trades(self, stream: InstrumentStream, now: float, now_ms: int) -> None:
        """Request the trades that the venue announced and that have not arrived."""
        asked = self._behind.setdefault(stream.symbol, [now, 0])
        times, not_before = self._denied.get(stream.symbol, (0, 0.0))
        if now - asked[0] < _OVERTAKEN or now < not_before or self._requests.is_requested(stream.symbol):
            return
        if asked[1] >= _REQUESTS:  # the announcement was wrong, or of another kind of id
            stream.anchor_id = stream.single_id = -1
            del self._behind[stream.symbol]
            self._denied[stream.symbol] = times + 1, now + min(_LONGEST_DENIAL, 2.0 ** min(times + 2, 16))
            return
        asked[1] += 1
        asked[0] = now
        since = stream.last.time_ms if stream.last is not None else now_ms - now_ms % MINUTE
        self._requests.add(stream.symbol, since, now_ms + 1, "the venue knows of newer trades")

    def _ask_unproven(self, now: float, now_ms: int) -> None:
        """Request minutes that have settled and are not proven: their trades first, then the venue's own bars."""
        aggregator = self._state.aggregator
        if aggregator.states_bars:
            aggregator.open_minutes(now_ms)
        for stream, minute in aggregator.doubts(now_ms):
            if now < minute.retry_at:
                continue
            if minute.rest_requests == 0 and minute.retry_at == 0.0:
                # the venue's own bar comes up to two seconds after the minute, and clocks are not exact
                minute.retry_at = now + 0.5
                continue
            minute.rest_requests += 1
            minute.retry_at = now + min(60.0, 1.0 * 2**minute.rest_requests)
            if minute.rest_requests <= _REQUESTS and not minute.stated_by_rest:
                self._requests.add(stream.symbol, minute.open_ms, minute.end_ms, "a minute that is not proven")
            if minute.rest_requests <= _REQUESTS and (minute.stated_by_rest or minute.rest_requests > 1):
                self.ask_bars(stream.symbol, minute.open_ms, minute.end_ms)

    def _each_second(self, now: float, now_ms: int) -> None:
        state = self._state
        for symbol, open_ms in state.aggregator.let_go(now_ms):
            opened = from_unix_ms(open_ms)
            log.warning("%s: the minute %s stays unproven", symbol, opened)
            state.unproven.append((symbol, opened))
        for stream in self.silence.suspects(list(state.aggregator.streams.values()), now):
            if stream.last is not None:
                self._suspects.add(stream.symbol)
                self._requests.add(stream.symbol, stream.last.time_ms, now_ms + 1, "silent: quiet or dead?")
        open_holes = {(stream.symbol, hole.first, hole.last) for stream, hole in state.aggregator.holes()}
        for key in [key for key in self._holes if key not in open_holes]:
            if self._holes.pop(key).requests:
                state.gaps_filled += 1

    def is_dead(self, symbol: str, new_trades: int) -> bool:
        """Whether the stream of an instrument is dead, by ``new_trades`` that REST had of it and the stream had not.

        False where the instrument was not silent. Its connection should be replaced when it is dead.
        """
        if symbol not in self._suspects:
            return False
        self._suspects.discard(symbol)
        return self.silence.verdict(symbol, new_trades)

    def drop_suspicion(self, symbol: str) -> None:
        """The venue gave no answer about a silent instrument."""
        self._suspects.discard(symbol)

    # -- after a lost connection ----------------------------------------------------------------------------------

    def reconnected(self, names: list[str]) -> None:
        """A connection is up again: instruments of which nothing comes soon are requested by REST."""
        self._reconnected.update(dict.fromkeys(names, time.monotonic() + _RECONNECTED))

    def _ask_after_reconnect(self, now: float, now_ms: int) -> None:
        for symbol, due in list(self._reconnected.items()):
            if now < due:
                continue
            del self._reconnected[symbol]
            stream = self._state.aggregator.streams.get(symbol)
            if stream is not None and stream.last is not None and stream.last.time_ms < (stream.linked_ms or now_ms):
                self._requests.add(symbol, stream.last.time_ms, now_ms + 1, "after a cut")

    # -- at the start ---------------------------------------------------------------------------------------------

    def recover(self, starts: list[Start], now_ms: int, *, contiguous_ids: bool) -> None:
        """Request everything from where the instruments continue to ``now_ms``; ``catch_up`` tells when it is there."""
        if contiguous_ids:
            self.read_back.begin(starts)
        for start in starts:
            stream = self._state.aggregator.streams[start.symbol]
            stream.forgotten_until_ms = stream.ever_forgotten_until_ms = start.since_ms
            for open_ms, written in start.written.items():
                if open_ms >= start.since_ms:
                    stream.minute(open_ms).written = written
            if start.bars_ms is not None:
                self._state.gaps_found += 1
                self.ask_bars(start.symbol, start.bars_ms, start.since_ms)
            self._requests.add(start.symbol, start.since_ms, now_ms + 1, "recovery")
        self.catch_up.begin([start.symbol for start in starts], now_ms)

    def ask_bars(self, symbol: str, start_ms: int, end_ms: int) -> None:
        """Request the venue's own bars of ``[start_ms, end_ms)``."""
        self._requests.add(symbol, start_ms, end_ms, "the venue's own bars", bars=True)

    # -- figures --------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, int]:
        """``bars_made``, ``gaps_found`` and ``gaps_filled`` since the last call."""
        state = self._state
        now = (state.bars_made, state.gaps_found, state.gaps_filled)
        names = ("bars_made", "gaps_found", "gaps_filled")
        figures = {name: new - old for name, new, old in zip(names, now, self._reported, strict=True)}
        self._reported = now
        return figures
