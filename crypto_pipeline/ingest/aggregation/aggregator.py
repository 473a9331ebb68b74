"""Trades of all instruments to one-minute bars, in whatever order, pieces and repetitions they arrive.

Ids and trades are kept as sets, so the result does not depend on how they arrived. The bars equal those of the function
that history uses, digit for digit (invariant I6, held by a property test). Here it is decided when a bar is written,
whether it is complete, and what must be requested from the venue because the stream cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from crypto_pipeline.ingest.aggregation.bar_decision import BarToWrite, Basis, bars_frame, decide
from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, InstrumentStream, Minute, Written
from crypto_pipeline.ingest.aggregation.rest_merge import Restated, restate
from crypto_pipeline.ingest.aggregation.trade_ids import IdHole
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues import TradesAnswer
from crypto_pipeline.venues.stream_protocol import Anchor, LiveBar

#: Trades whose time is further than this from the venue's clock are refused. Milliseconds.
_FUTURE_MS, _PAST_MS = 10_000, 7 * 86_400_000
#: A trade whose age on arrival differs so much from that of others has an odd time. Real milliseconds.
_ODD_MS = 1_000


class Aggregator:
    """All instruments of one term. Not thread-safe: use it from one event loop. Times in Unix milliseconds."""

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        settle_ms: int = 2000,
        states_bars: bool = True,
        keep_ms: int = 120_000,
        give_up_ms: int = 900_000,
        rate: float = 1.0,
    ) -> None:
        self.settle_ms, self.states_bars = settle_ms, states_bars
        self.keep_ms, self.give_up_ms = keep_ms, give_up_ms
        self.streams: dict[str, InstrumentStream] = {symbol: InstrumentStream(symbol) for symbol in symbols}
        #: instruments in which something happened since prices were last written
        self.moved: set[InstrumentStream] = set()
        #: instruments with a hole in their ids
        self.jumped: set[InstrumentStream] = set()
        #: forgotten minutes that are needed again, (instrument, open time), with the trades that came for them since
        self.late: dict[tuple[str, int], list[LiveTrade]] = {}
        #: venue time, and when the message that is being taken in arrived (monotonic); set by the caller
        self.now_ms = 0
        self.arrived = 0.0
        #: usual age of trades when they arrive, and the difference from it that is odd. Venue milliseconds.
        self._age = 0.0
        self._odd_ms = _ODD_MS * max(1.0, rate)
        self.counters = dict.fromkeys(
            ("trades", "duplicates", "implausible", "strangers", "bars", "jumps", "restated", "false_ids", "odd"), 0
        )

    # -- taking in ------------------------------------------------------------------------------------------------

    def trade(self, trade: LiveTrade) -> bool:
        """Take in a trade of the stream; False when it is not new or refused."""
        stream = self.streams.get(trade.instrument)
        if stream is None:
            self.counters["strangers"] += 1
            return False
        stream.last_message_at = self.arrived
        if self.now_ms and not self.now_ms - _PAST_MS < trade.time_ms < self.now_ms + _FUTURE_MS:
            self.counters["implausible"] += 1
            return False
        spans = len(stream.ids.spans)
        if trade.time_ms < stream.forgotten_until_ms:
            return self._late(stream, trade)
        last = stream.last
        minute = stream.take(trade)
        if minute is None:
            self.counters["duplicates"] += 1
            return False
        self.counters["trades"] += 1
        self.moved.add(stream)
        if self.now_ms:
            self._check_time(stream, trade, minute, last)
        if minute.summary_only:
            self.too_late(stream, trade)
            return True
        if len(stream.ids.spans) > spans and spans:
            self.counters["jumps"] += 1
            self.jumped.add(stream)
        if self.now_ms > minute.end_ms:
            minute.changed_ms = max(minute.changed_ms, self.now_ms)
        return True

    def _check_time(self, stream: InstrumentStream, trade: LiveTrade, minute: Minute, last: LiveTrade | None) -> None:
        """Mark the minute of a trade with an odd time, so that REST must state it.

        Times rise with ids, and all trades are about as old when they arrive.
        """
        off = self.now_ms - trade.time_ms - self._age
        odd = abs(off) > self._odd_ms
        self._age += 0.02 * off if not odd else 0.002 * off
        if last is not None and trade.time_ms != last.time_ms:
            odd |= (trade.trade_id > last.trade_id) != (trade.time_ms > last.time_ms)
        if odd:
            self.counters["odd"] += 1
            minute.trades_incomplete = True
            # which of the two is wrong is not known here
            if last is not None and (other := stream.minutes.get(last.time_ms - last.time_ms % MINUTE)) is not None:
                other.trades_incomplete = True

    def _late(self, stream: InstrumentStream, trade: LiveTrade) -> bool:
        if not stream.ids.add(trade.trade_id, trade.time_ms, trade.first_id, trade.last_id):
            self.counters["duplicates"] += 1
            return False
        self.too_late(stream, trade)
        return True

    def too_late(self, stream: InstrumentStream, trade: LiveTrade) -> None:
        """Take a trade of a minute that is not in memory any more: the minute must be reopened."""
        self.late.setdefault((stream.symbol, trade.time_ms - trade.time_ms % MINUTE), []).append(trade)

    def bar(self, bar: LiveBar) -> None:
        """Take in the venue's own bar: a proof for a minute that is over, an anchor while it forms."""
        stream = self.streams.get(bar.instrument)
        if stream is None or bar.timeframe != Timeframe.M1:
            return
        stream.last_message_at = self.arrived
        if bar.closed and bar.open_ms >= stream.forgotten_until_ms and self._plausible(bar.open_ms):
            minute = stream.minute(bar.open_ms)
            if minute.stated != bar:
                minute.stated = bar
                if minute.summary_only:
                    if not minute.agrees():
                        self.late.setdefault((stream.symbol, minute.open_ms), [])
                elif not minute.settled or not minute.agrees():
                    minute.changed_since_write, minute.settled = True, False
            self.counters["bars"] += 1
        if bar.last_id is not None and bar.last_id > stream.single_id:
            stream.single_id = bar.last_id

    def anchor(self, anchor: Anchor) -> None:
        """Take in which trade is the newest by the venue. Ids of 0 and older ids change nothing."""
        stream = self.streams.get(anchor.instrument)
        if stream is None:
            return
        stream.last_message_at = self.arrived
        if not anchor.last_trade_id or anchor.last_trade_id < stream.anchor_id:
            return
        stream.anchor_id = anchor.last_trade_id
        stream.anchor_ms = max(stream.anchor_ms, anchor.time_ms or 0)

    def restate(self, answer: TradesAnswer, asked_ms: int) -> Restated:
        """Take over what REST states of a span, asked at ``asked_ms`` (venue time): it replaces what was known."""
        stream = self.streams.get(answer.instrument)
        return Restated() if stream is None else restate(self, stream, answer, asked_ms)

    def reopen(self, symbol: str, open_ms: int, written: Written | None = None) -> None:
        """Put a minute into memory again that was forgotten, or that is older than the term.

        ``written`` is the stored copy of its bar: a live copy is corrected by a live one. REST must state the minute
        before anything is written.
        """
        stream = self.streams[symbol]
        stream.ever_forgotten_until_ms = max(
            stream.ever_forgotten_until_ms, stream.forgotten_until_ms, open_ms + MINUTE
        )
        stream.forgotten_until_ms = min(stream.forgotten_until_ms, open_ms)
        old = stream.minutes.pop(open_ms, None)
        minute = stream.minute(open_ms)
        minute.trades_incomplete = True
        minute.written = written
        if old is not None:
            minute.written, minute.stated = old.written or written, old.stated
            if stream.current is old:
                stream.current = minute
        # some of them may be false: REST will tell
        for trade in self.late.pop((symbol, open_ms), []):
            minute.add(trade)

    def void(self, stream: InstrumentStream, hole: IdHole) -> None:
        """The venue does not show these ids either: stop requesting them; bars that lack them are not complete."""
        stream.ids.void(hole)
        for ms in range(hole.start_ms - hole.start_ms % MINUTE, hole.end_ms + 1, MINUTE):
            minute = stream.minutes.get(ms)
            if minute is not None and (minute.count or minute.open_ms > hole.start_ms):
                minute.has_hidden_ids = True

    def _plausible(self, ms: int) -> bool:
        return not self.now_ms or self.now_ms - _PAST_MS < ms < self.now_ms + _FUTURE_MS

    # -- results --------------------------------------------------------------------------------------------------

    def bars_to_write(self, now_ms: int) -> list[BarToWrite]:
        """Bars to write now: proven ones at once, others when their minute has settled."""
        self.now_ms = now_ms
        return [
            bar
            for stream in self.streams.values()
            for minute in stream.minutes.values()
            if minute.changed_since_write and (bar := decide(self, stream, minute)) is not None
        ]

    def frame(self, bars: Sequence[BarToWrite]) -> pl.DataFrame:
        """The bars as a frame (BAR_SCHEMA), equal to what ``market.bars_from_trades`` makes of the trades."""
        return bars_frame(bars)

    def wrote(self, bars: Iterable[BarToWrite]) -> None:
        """Note that these bars are stored; trades of proven minutes are dropped from memory."""
        for bar in bars:
            minute = bar.minute
            minute.written = Written(bar.basis is not Basis.PARTIAL, str(bar.source), bar.count, bar.changed_ms)
            unchanged = (len(minute.trades), minute.changed_ms) == (bar.count, bar.changed_ms)
            if unchanged and bar.basis in (Basis.PROVEN, Basis.SILENT):
                minute.drop_trades()

    def doubts(self, now_ms: int) -> list[tuple[InstrumentStream, Minute]]:
        """Minutes that have settled and are neither proven nor stated as silent: they must be requested."""
        return [
            (stream, minute)
            for stream in self.streams.values()
            for minute in stream.minutes.values()
            if minute.changed_since_write and now_ms >= minute.end_ms + self.settle_ms and not minute.settled
        ]

    def open_minutes(self, now_ms: int) -> None:
        """Have a minute for every instrument even when nothing comes, so that silent ones are requested as well."""
        open_ms = now_ms - now_ms % MINUTE - MINUTE
        for stream in self.streams.values():
            if open_ms >= stream.forgotten_until_ms and open_ms not in stream.minutes:
                stream.minute(open_ms)

    def holes(self) -> list[tuple[InstrumentStream, IdHole]]:
        """Ids that are missing between known ones."""
        every = []
        for stream in list(self.jumped):
            holes = stream.ids.holes()
            if not holes:
                self.jumped.discard(stream)
            every += [(stream, hole) for hole in holes]
        return every

    def let_go(self, now_ms: int) -> list[tuple[str, int]]:
        """Forget old minutes; returns those whose bar could not be proven: (instrument, open time)."""
        given_up: list[tuple[str, int]] = []
        for stream in self.streams.values():
            for open_ms in sorted(stream.minutes):
                minute = stream.minutes[open_ms]
                age = now_ms - minute.end_ms
                if (
                    minute is stream.current
                    or age < self.keep_ms
                    or (minute.changed_since_write and age < self.give_up_ms)
                ):
                    break
                if minute.changed_since_write:
                    given_up.append((stream.symbol, open_ms))
                stream.drop(open_ms)
            stream.ids.forget_before(min(stream.forgotten_until_ms, now_ms - self.keep_ms))
        return given_up

    def forget(self, open_ms: int) -> None:
        """Forget a minute of all instruments to free memory; its ids are unknown from now on."""
        for stream in self.streams.values():
            minute = stream.minutes.get(open_ms)
            if minute is None:
                continue
            stream.drop(open_ms)
            if stream.current is minute:
                stream.current = None
            if minute.count:
                stream.ids.forget_upto(minute.last)

    @property
    def held(self) -> int:
        """Trades in memory."""
        return sum(len(minute.trades) for stream in self.streams.values() for minute in stream.minutes.values())
