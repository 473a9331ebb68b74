"""Trades of all instruments into one-minute bars, in whatever order, pieces and repetitions they arrive.

What is known is kept as sets (ids, trades of a minute), so the result does not depend on how it arrived. The bars have
the digits of the function that history uses (invariant I6: a property test holds the two together); here it is decided
when a bar is written, whether it is complete, and what must be asked of the venue because the stream cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

import polars as pl

from crypto_pipeline.ingest.ids import Hole
from crypto_pipeline.ingest.minutes import MINUTE, Minute, Series, Written
from crypto_pipeline.market.bars import BAR_SCHEMA, UTC_MS, Source
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import TradesAnswer
from crypto_pipeline.venues.streaming import Anchor, LiveBar, LiveTrade

#: Trades that claim a time further from the venue's clock than this are not believed.
_FUTURE_MS, _PAST_MS = 10_000, 7 * 86_400_000
#: A trade whose age on arrival differs so much from that of others has an odd time, real milliseconds.
_ODD_MS = 1_000


class Kind(Enum):
    """What a bar is written from."""

    PROVEN = "trades, none missing"
    PARTIAL = "trades, some may be missing"
    SILENT = "the venue's bar of a minute without trades"
    STATED = "the venue's bar, as trades are missing"


@dataclass(slots=True)
class Due:
    """A bar to write now; ``count`` and ``changed_ms`` tell later whether the minute has changed meanwhile."""

    series: Series
    minute: Minute
    kind: Kind
    source: Source
    count: int
    changed_ms: int


@dataclass(slots=True)
class Restated:
    """What a REST answer changed: trades that are new, and trades that were false."""

    added: list[LiveTrade] = field(default_factory=list)
    removed: list[LiveTrade] = field(default_factory=list)


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
            self._too_late(series, trade)
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
        if not series.ids.add(trade.trade_id, trade.time_ms):
            self.counters["duplicates"] += 1
            return False
        self._too_late(series, trade)
        return True

    def _too_late(self, series: Series, trade: LiveTrade) -> None:
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
        if series is None:
            return Restated()
        start, end = _ms(answer.start), _ms(answer.end)
        stated = {trade.trade_id: trade for trade in live_trades(answer.trades)}
        # the answer is older than the trades that streamed in while it was on its way
        upto = max(stated, default=-1) if answer.id_after is None else (1 << 62)
        final = end if answer.id_after is not None else min(end, asked_ms - self.settle_ms)
        result = Restated()
        touched: set[int] = set()
        for minute in list(series.minutes.values()):
            if minute.open_ms >= end or minute.end_ms <= start:
                continue
            result.removed += self._correct(series, minute, stated, (start, end, upto, final), touched)
        self._fill(series, list(stated.values()), result, touched)
        self._settle_edges(series, answer, (start, min(end, asked_ms - self.settle_ms)))
        for open_ms in touched:
            minute = series.minutes[open_ms]
            minute.changed_ms = max(minute.changed_ms, asked_ms)
        traded = [open_ms for open_ms, minute in series.minutes.items() if minute.count]
        series.current = series.minutes[max(traded)] if traded else None
        self.moved.add(series)
        self.counters["restated"] += len(result.added)
        self.counters["false_ids"] += len(result.removed)
        return result

    def _correct(
        self,
        series: Series,
        minute: Minute,
        stated: dict[int, LiveTrade],
        span: tuple[int, int, int, int],
        touched: set[int],
    ) -> list[LiveTrade]:
        """Drop trades that REST does not know, or knows otherwise; returns them."""
        start, end, upto, final = span
        false = [
            trade
            for trade in minute.trades
            if (
                stated[trade.trade_id] != trade
                if trade.trade_id in stated
                else start <= trade.time_ms < end and (trade.trade_id <= upto or trade.time_ms < final)
            )
        ]
        if false:
            ids = {trade.trade_id for trade in false}
            minute.replace([trade for trade in minute.trades if trade.trade_id not in ids])
            minute.rest = True
            touched.add(minute.open_ms)
            for number in ids:
                series.ids.discard(number)
            if series.last is not None and series.last.trade_id in ids:
                series.last = None
        return false

    def _fill(self, series: Series, trades: list[LiveTrade], result: Restated, touched: set[int]) -> None:
        """Put in what was not known, and into minutes that were opened again also what was."""
        have: dict[int, set[int]] = {}
        for trade in trades:
            open_ms = trade.time_ms - trade.time_ms % MINUTE
            new = series.ids.add(trade.trade_id, trade.time_ms)
            if series.last is None or trade.trade_id > series.last.trade_id:
                series.last = trade
            if open_ms < series.gone_ms:
                if new:
                    result.added.append(trade)
                    self._too_late(series, trade)
                continue
            minute = series.minute(open_ms)
            if minute.thin:
                if new:
                    result.added.append(trade)
                    self._too_late(series, trade)
                continue
            if open_ms not in have:
                have[open_ms] = {each.trade_id for each in minute.trades} if minute.hollow else set()
            if new or (minute.hollow and trade.trade_id not in have[open_ms]):
                result.added.append(trade)
                minute.add(trade)
                minute.rest = True
                touched.add(open_ms)

    def _settle_edges(self, series: Series, answer: TradesAnswer, span: tuple[int, int]) -> None:
        """Minutes that lie whole inside what REST has stated after their end are proven at both edges."""
        start, end = span
        for open_ms in range(-(-start // MINUTE) * MINUTE, end - MINUTE + 1, MINUTE):
            if open_ms < series.gone_ms:
                continue
            minute = series.minute(open_ms)
            if not minute.sealed and not minute.thin:
                minute.sealed = minute.dirty = True

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
            if minute.dirty and (due := self._due(series, minute)) is not None
        ]

    def _due(self, series: Series, minute: Minute) -> Due | None:
        settled = self.now_ms >= minute.end_ms + self.settle_ms
        if self.now_ms < minute.end_ms and not (minute.stated or minute.sealed):
            newer = series.last is not None and series.last.time_ms >= minute.end_ms
            if not newer:
                return None
        kind = self._kind(series, minute, settled)
        if kind is None:
            return None
        source = Source.VENUE_HISTORICAL if kind is Kind.STATED else series.source(minute)
        if kind in (Kind.PARTIAL, Kind.STATED) and minute.written is not None:
            # a copy that is no worse is stored: nothing is won until more is known
            same = minute.written.trades == len(minute.trades) and minute.written.changed_ms == minute.changed_ms
            if minute.written.complete or (kind is Kind.PARTIAL and same):
                return None
        return Due(series, minute, kind, source, len(minute.trades), minute.changed_ms)

    def _kind(self, series: Series, minute: Minute, settled: bool) -> Kind | None:
        if series.proven(minute, trust_link=not self.states_bars, settled=settled):
            return Kind.PROVEN
        stated = minute.stated
        if not minute.count:
            return (
                Kind.SILENT if stated is not None and _empty(stated) else (Kind.STATED if settled and stated else None)
            )
        if not settled:
            return None
        return Kind.STATED if stated is not None and not _empty(stated) else Kind.PARTIAL

    def frame(self, dues: Sequence[Due]) -> pl.DataFrame:
        """The bars themselves (BAR_SCHEMA), digit for digit what ``market.bars_from_trades`` makes of the trades."""
        rows = [
            _of_trades(due) if due.kind in (Kind.PROVEN, Kind.PARTIAL) else _of_statement(due.minute.stated, due)
            for due in dues
        ]
        times = {"open_time": pl.Int64(), "revision": pl.Int64()}
        frame = pl.DataFrame(rows, schema={**BAR_SCHEMA, **times}, orient="row")
        return frame.with_columns(pl.col("open_time", "revision").cast(UTC_MS))

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


def live_trades(frame: pl.DataFrame) -> list[LiveTrade]:
    """Trades of TRADE_SCHEMA as events."""
    columns = ("instrument", "trade_id", "first_id", "last_id", "time", "price", "quantity", "taker_side")
    rows = frame.select(columns).with_columns(pl.col("time").to_physical(), pl.col("taker_side") == "buy")
    return [LiveTrade(*row) for row in rows.iter_rows()]


def _of_trades(due: Due) -> tuple[object, ...]:
    minute = due.minute
    minute.put_in_order()
    return (
        due.series.symbol,
        minute.open_ms,
        *(minute.open, minute.high, minute.low, minute.close),
        *(minute.volume, minute.quote, minute.taker, minute.count),
        str(due.source),
        due.kind is Kind.PROVEN,
        due.changed_ms,
    )


def _of_statement(bar: LiveBar | None, due: Due) -> tuple[object, ...]:
    assert bar is not None, "without a statement there is nothing to state"
    return (
        bar.instrument,
        bar.open_ms,
        *(bar.open, bar.high, bar.low, bar.close),
        *(bar.volume, bar.quote_volume, bar.taker_buy_volume, bar.trade_count),
        str(due.source),
        True,
        max(bar.open_ms + MINUTE, due.changed_ms),
    )


def _empty(bar: LiveBar) -> bool:
    return bar.volume == 0 and not bar.trade_count


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
