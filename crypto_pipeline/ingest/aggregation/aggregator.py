"""Trades of all instruments into one-minute bars, in whatever order, pieces and repetitions they arrive.

What is known is kept as sets (ids, trades of a minute), so the result does not depend on how it arrived. The bars have
the digits of the function that history uses (invariant I6: a property test holds the two together); here it is decided
when a bar is written, whether it is complete, and what must be asked of the venue because the stream cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from crypto_pipeline.ingest.aggregation.bar_decision import Due, Kind, bars_of, decide
from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Minute, Series, Written
from crypto_pipeline.ingest.aggregation.rest_merge import Restated, restate
from crypto_pipeline.ingest.aggregation.trade_ids import Hole
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import TradesAnswer
from crypto_pipeline.venues.stream_protocol import Anchor, LiveBar, LiveTrade

#: Trades that claim a time further from the venue's clock than this are not believed.
_FUTURE_MS, _PAST_MS = 10_000, 7 * 86_400_000
#: A trade whose age on arrival differs so much from that of others has an odd time, real milliseconds.
_ODD_MS = 1_000


class Aggregator:
    """All instruments of one ingest. Not thread-safe: one event loop feeds it and asks it."""

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
        self.series: dict[str, Series] = {symbol: Series(symbol) for symbol in symbols}
        #: instruments in which something happened since the last look at prices
        self.moved: set[Series] = set()
        #: instruments with a hole in their ids
        self.jumped: set[Series] = set()
        #: minutes that were let go of and are needed again, (instrument, open time), with what came for them since
        self.late: dict[tuple[str, int], list[LiveTrade]] = {}
        #: venue time, and when what is being taken in arrived (monotonic): as far as the caller says
        self.now_ms = 0
        self.arrived = 0.0
        #: how old trades usually are when they arrive, venue milliseconds; and how much is odd
        self._age = 0.0
        self._odd_ms = _ODD_MS * max(1.0, rate)
        self.counters = dict.fromkeys(
            ("trades", "duplicates", "implausible", "strangers", "bars", "jumps", "restated", "false_ids", "odd"), 0
        )

    # -- taking in ------------------------------------------------------------------------------------------------

    def trade(self, trade: LiveTrade) -> bool:
        """Take in a trade of the stream; False when it is not new or not to be believed."""
        series = self.series.get(trade.instrument)
        if series is None:
            self.counters["strangers"] += 1
            return False
        series.heard = self.arrived
        if self.now_ms and not self.now_ms - _PAST_MS < trade.time_ms < self.now_ms + _FUTURE_MS:
            self.counters["implausible"] += 1
            return False
        spans = len(series.ids.spans)
        if trade.time_ms < series.gone_ms:
            return self._late(series, trade)
        last = series.last
        minute = series.take(trade)
        if minute is None:
            self.counters["duplicates"] += 1
            return False
        self.counters["trades"] += 1
        self.moved.add(series)
        if self.now_ms:
            self._look_at_time(series, trade, minute, last)
        if minute.thin:
            self.too_late(series, trade)
            return True
        if len(series.ids.spans) > spans and spans:
            self.counters["jumps"] += 1
            self.jumped.add(series)
        if self.now_ms > minute.end_ms:
            minute.changed_ms = max(minute.changed_ms, self.now_ms)
        return True

    def _look_at_time(self, series: Series, trade: LiveTrade, minute: Minute, last: LiveTrade | None) -> None:
        """Times run with the ids, and all trades are about as old when they arrive. Else REST must state the minute."""
        off = self.now_ms - trade.time_ms - self._age
        odd = abs(off) > self._odd_ms
        self._age += 0.02 * off if not odd else 0.002 * off
        if last is not None and trade.time_ms != last.time_ms:
            odd |= (trade.trade_id > last.trade_id) != (trade.time_ms > last.time_ms)
        if odd:
            self.counters["odd"] += 1
            minute.hollow = True
            # which of the two is wrong cannot be told here
            if last is not None and (other := series.minutes.get(last.time_ms - last.time_ms % MINUTE)) is not None:
                other.hollow = True

    def _late(self, series: Series, trade: LiveTrade) -> bool:
        if not series.ids.add(trade.trade_id, trade.time_ms, trade.first_id, trade.last_id):
            self.counters["duplicates"] += 1
            return False
        self.too_late(series, trade)
        return True

    def too_late(self, series: Series, trade: LiveTrade) -> None:
        """A trade of a minute that is done: the minute must be opened again."""
        self.late.setdefault((series.symbol, trade.time_ms - trade.time_ms % MINUTE), []).append(trade)

    def bar(self, bar: LiveBar) -> None:
        """Take in the venue's own bar: proof for a minute that is over, an anchor while it forms."""
        series = self.series.get(bar.instrument)
        if series is None or bar.timeframe != Timeframe.M1:
            return
        series.heard = self.arrived
        if bar.closed and bar.open_ms >= series.gone_ms and self._plausible(bar.open_ms):
            minute = series.minute(bar.open_ms)
            if minute.stated != bar:
                minute.stated = bar
                if minute.thin:
                    if not minute.agrees():
                        self.late.setdefault((series.symbol, minute.open_ms), [])
                elif not minute.settled or not minute.agrees():
                    minute.dirty, minute.settled = True, False
            self.counters["bars"] += 1
        if bar.last_id is not None and bar.last_id > series.single_id:
            series.single_id = bar.last_id

    def anchor(self, anchor: Anchor) -> None:
        """Take in which trade is the newest by the venue. Ids of 0 and those from before are not news."""
        series = self.series.get(anchor.instrument)
        if series is None:
            return
        series.heard = self.arrived
        if not anchor.last_trade_id or anchor.last_trade_id < series.anchor_id:
            return
        series.anchor_id = anchor.last_trade_id
        series.anchor_ms = max(series.anchor_ms, anchor.time_ms or 0)

    def restate(self, answer: TradesAnswer, asked_ms: int) -> Restated:
        """Take over what REST states of a span, asked at ``asked_ms`` (venue time). It is the truth there."""
        series = self.series.get(answer.instrument)
        return Restated() if series is None else restate(self, series, answer, asked_ms)

    def reopen(self, symbol: str, open_ms: int, written: Written | None = None) -> None:
        """Take care of a minute again that was let go of, or was before our time.

        ``written`` is the stored copy of its bar: one that was live is corrected by one that is live. REST must state
        the minute before anything is written.
        """
        series = self.series[symbol]
        series.far_ms = max(series.far_ms, series.gone_ms, open_ms + MINUTE)
        series.gone_ms = min(series.gone_ms, open_ms)
        old = series.minutes.pop(open_ms, None)
        minute = series.minute(open_ms)
        minute.hollow = True
        minute.written = written
        if old is not None:
            minute.written, minute.stated = old.written or written, old.stated
            if series.current is old:
                series.current = minute
        # among them may be false ones: REST will tell
        for trade in self.late.pop((symbol, open_ms), []):
            minute.add(trade)

    def void(self, series: Series, hole: Hole) -> None:
        """The venue does not show these ids either: stop looking for them, and call no bar whole that lacks them."""
        series.ids.void(hole)
        for ms in range(hole.start_ms - hole.start_ms % MINUTE, hole.end_ms + 1, MINUTE):
            minute = series.minutes.get(ms)
            if minute is not None and (minute.count or minute.open_ms > hole.start_ms):
                minute.holed = True

    def _plausible(self, ms: int) -> bool:
        return not self.now_ms or self.now_ms - _PAST_MS < ms < self.now_ms + _FUTURE_MS

    # -- giving out -----------------------------------------------------------------------------------------------

    def due(self, now_ms: int) -> list[Due]:
        """Bars to write now: proven ones at once, others when they have settled."""
        self.now_ms = now_ms
        return [
            due
            for series in self.series.values()
            for minute in series.minutes.values()
            if minute.dirty and (due := decide(self, series, minute)) is not None
        ]

    def frame(self, dues: Sequence[Due]) -> pl.DataFrame:
        """The bars themselves (BAR_SCHEMA), digit for digit what ``market.bars_from_trades`` makes of the trades."""
        return bars_of(dues)

    def wrote(self, dues: Iterable[Due]) -> None:
        """These are stored now."""
        for due in dues:
            due.minute.written = Written(due.kind is not Kind.PARTIAL, str(due.source), due.count, due.changed_ms)
            unchanged = (len(due.minute.trades), due.minute.changed_ms) == (due.count, due.changed_ms)
            if unchanged and due.kind in (Kind.PROVEN, Kind.SILENT):
                due.minute.slim()

    def doubts(self, now_ms: int) -> list[tuple[Series, Minute]]:
        """Minutes that have settled and are neither proven nor stated as silent: REST must be asked."""
        return [
            (series, minute)
            for series in self.series.values()
            for minute in series.minutes.values()
            if minute.dirty and now_ms >= minute.end_ms + self.settle_ms and not minute.settled
        ]

    def open_minutes(self, now_ms: int) -> None:
        """Have a minute for every instrument even when nothing comes, so that silence is looked into as well."""
        open_ms = now_ms - now_ms % MINUTE - MINUTE
        for series in self.series.values():
            if open_ms >= series.gone_ms and open_ms not in series.minutes:
                series.minute(open_ms)

    def holes(self) -> list[tuple[Series, Hole]]:
        """Ids that are missing between known ones."""
        found = []
        for series in list(self.jumped):
            holes = series.ids.holes()
            if not holes:
                self.jumped.discard(series)
                series.jumped = None
            found += [(series, hole) for hole in holes]
        return found

    def let_go(self, now_ms: int) -> list[tuple[str, int]]:
        """Forget minutes that are done; returns those given up: (instrument, open time), their bar is not proven."""
        given_up: list[tuple[str, int]] = []
        for series in self.series.values():
            for open_ms in sorted(series.minutes):
                minute = series.minutes[open_ms]
                age = now_ms - minute.end_ms
                if minute is series.current or age < self.keep_ms or (minute.dirty and age < self.give_up_ms):
                    break
                if minute.dirty:
                    given_up.append((series.symbol, open_ms))
                series.drop(open_ms)
            series.ids.forget_before(min(series.gone_ms, now_ms - self.keep_ms))
        return given_up

    def forget(self, open_ms: int) -> None:
        """Let go of a minute of all instruments to have memory again; its ids are unknown from now on."""
        for series in self.series.values():
            minute = series.minutes.get(open_ms)
            if minute is None:
                continue
            series.drop(open_ms)
            if series.current is minute:
                series.current = None
            if minute.count:
                series.ids.forget_upto(minute.last)

    @property
    def held(self) -> int:
        """Trades in memory."""
        return sum(len(minute.trades) for series in self.series.values() for minute in series.minutes.values())
