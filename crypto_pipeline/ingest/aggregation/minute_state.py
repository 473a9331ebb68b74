"""One instrument's minutes as they fill with trades, and what is proven about each."""

from __future__ import annotations

from dataclasses import dataclass

from crypto_pipeline.ingest.aggregation.trade_ids import IdSpans
from crypto_pipeline.market.bars import Source
from crypto_pipeline.market.individual_trades import new_singles
from crypto_pipeline.venues.stream_protocol import LiveBar, LiveTrade

MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Written:
    """The copy of a minute's bar that was stored last."""

    complete: bool
    source: str
    #: what it was made from; not known of a copy that an earlier process wrote
    trades: int = -1
    changed_ms: int = 0


class Minute:
    """The trades of one minute in any order, with the running figures of its bar."""

    __slots__ = (
        "again",
        "asks",
        "changed_ms",
        "close",
        "count",
        "dirty",
        "first",
        "high",
        "holed",
        "hollow",
        "last",
        "last_single",
        "low",
        "open",
        "open_ms",
        "ordered",
        "quote",
        "rest",
        "sealed",
        "settled",
        "stated",
        "taker",
        "thin",
        "trades",
        "volume",
        "written",
    )

    def __init__(self, open_ms: int) -> None:
        self.open_ms = open_ms
        self.trades: list[LiveTrade] = []
        #: lowest and highest id; highest id of an individual trade; individual trades
        self.first = self.last = self.last_single = self.count = 0
        self.open = self.high = self.low = self.close = 0.0
        self.volume = self.quote = self.taker = 0.0
        #: the venue's own bar once it is closed
        self.stated: LiveBar | None = None
        #: a trade of it came by REST
        self.rest = False
        #: REST stated all trades of it after its end
        self.sealed = False
        #: venue time of the newest change after its end
        self.changed_ms = open_ms + MINUTE
        self.written: Written | None = None
        #: something changed since it was written
        self.dirty = True
        #: made again after it had been let go of: known ids may have no trade here, until REST states it
        self.hollow = False
        #: the venue itself does not show some of its ids, so nobody can say that it is whole
        self.holed = False
        #: the figures were counted in the order of ids, as the batch function counts
        self.ordered = True
        #: a bar is stored with which nothing was wrong; then the trades are let go of, and only figures are kept
        self.settled = False
        self.thin = False
        #: how often REST was asked to settle a doubt about it, and when it may be asked again (monotonic)
        self.asks = 0
        self.again = 0.0

    @property
    def end_ms(self) -> int:
        """Exclusive."""
        return self.open_ms + MINUTE

    def add(self, trade: LiveTrade) -> None:
        """Take in a trade that is not in yet."""
        price, quantity = trade.price, trade.quantity
        if not self.trades:
            self.first = self.last = trade.trade_id
            self.open = self.high = self.low = self.close = price
            self.last_single = trade.last_id
        elif trade.trade_id > self.last:
            self.last, self.close = trade.trade_id, price
            if trade.first_id <= self.last_single:
                self.ordered = False  # sums what another one sums: counted once, when it is counted again
            self.last_single = max(self.last_single, trade.last_id)
        else:
            self.ordered = False
            if trade.trade_id < self.first:
                self.first, self.open = trade.trade_id, price
            self.last_single = max(self.last_single, trade.last_id)
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.volume += quantity
        self.quote += price * quantity
        if trade.taker_buy:
            self.taker += quantity
        self.count += trade.last_id - trade.first_id + 1
        self.trades.append(trade)
        self.dirty = True

    def replace(self, trades: list[LiveTrade]) -> None:
        """Have exactly these trades."""
        self.trades = []
        self.first = self.last = self.last_single = self.count = 0
        self.open = self.high = self.low = self.close = 0.0
        self.volume = self.quote = self.taker = 0.0
        self.dirty = self.ordered = True
        for trade in trades:
            self.add(trade)

    def put_in_order(self) -> None:
        """Count again in the order of ids: sums of floats depend on it. Individual trades are counted once."""
        if self.ordered:
            return
        trades = sorted(self.trades, key=lambda trade: trade.trade_id)
        self.replace(trades)
        if not self.ordered:
            new = new_singles((trade.first_id, trade.last_id) for trade in trades)
            last, last_single = self.last, self.last_single
            self.replace([trade for trade, count in zip(trades, new, strict=True) if count])
            # what identifies the minute is all of its trades, also those that repeat others
            self.trades, self.count, self.last, self.last_single = trades, sum(new), last, last_single
            self.ordered = True

    def slim(self) -> None:
        """Its bar is stored and right: keep the figures only."""
        self.settled = self.thin = True
        self.dirty = False
        self.trades = []

    def agrees(self) -> bool:
        """Whether the venue's closed bar says what our trades say: the same number of them, up to the same id."""
        stated = self.stated
        if stated is None:
            return False
        if stated.trade_count is not None:
            if stated.trade_count != self.count:
                return False
            if self.count and stated.last_id is not None and stated.last_id >= 0 and stated.last_id != self.last_single:
                return False
        return abs(stated.volume - self.volume) <= 1e-9 * max(stated.volume, self.volume)


class Series:
    """One instrument: its known ids, its newest minutes, and what the venue says its newest trade is."""

    __slots__ = (
        "anchor_id",
        "anchor_ms",
        "current",
        "far_ms",
        "gone_ms",
        "heard",
        "ids",
        "jumped",
        "last",
        "linked_ms",
        "minutes",
        "single_id",
        "symbol",
    )

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.ids = IdSpans()
        self.minutes: dict[int, Minute] = {}
        self.current: Minute | None = None
        #: newest trade by id
        self.last: LiveTrade | None = None
        #: the newest id the venue knew of, and when
        self.anchor_id = -1
        self.anchor_ms = 0
        #: the newest individual trade that the venue's own bars count
        self.single_id = -1
        #: minutes that opened before this were let go of
        self.gone_ms = 0
        #: the furthest that ``gone_ms`` ever was: minutes may be opened again
        self.far_ms = 0
        #: a link to the venue has been up without a break since then; None: there is none
        self.linked_ms: int | None = None
        #: monotonic time of the newest message about it, and since when a hole in its ids is known
        self.heard = 0.0
        self.jumped: float | None = None

    def minute(self, open_ms: int) -> Minute:
        """The minute that opens then, made where it is not there."""
        found = self.minutes.get(open_ms)
        if found is None:
            found = self.minutes[open_ms] = Minute(open_ms)
            found.hollow = open_ms < self.far_ms
        return found

    def drop(self, open_ms: int) -> None:
        """Let go of a minute and all before it."""
        del self.minutes[open_ms]
        self.gone_ms = max(self.gone_ms, open_ms + MINUTE)
        self.far_ms = max(self.far_ms, self.gone_ms)

    @property
    def behind(self) -> bool:
        """Whether the venue has told of a trade newer than our newest."""
        if self.last is None:
            return self.anchor_id > 0 or self.single_id > 0
        return self.anchor_id > self.last.trade_id or self.single_id > self.last.last_id

    def take(self, trade: LiveTrade) -> Minute | None:
        """Take in a trade; None when its id is known already. A minute that is thin it does not enter."""
        if not self.ids.add(trade.trade_id, trade.time_ms, trade.first_id, trade.last_id):
            return None
        if self.last is None or trade.trade_id > self.last.trade_id:
            self.last = trade
        current = self.current
        open_ms = trade.time_ms - trade.time_ms % MINUTE
        if current is None or current.open_ms != open_ms:
            current = self.minute(open_ms)
            if current.thin:
                return current
            if self.current is None or open_ms > self.current.open_ms:
                self.current = current
        elif current.thin:
            return current
        current.add(trade)
        return current

    def proven(self, minute: Minute, *, trust_link: bool, settled: bool) -> bool:
        """Whether no trade of the minute can be missing.

        By ids: they run through the minute without a jump and on to a trade before and one after it. An edge is also
        proven by REST (it stated the whole minute), by the venue's closed bar with the same count, by an anchor (the
        newest id at a later time is our last), and, for a venue that states neither, by an unbroken link.
        """
        if not minute.count:
            return False
        inside, before, after = self.ids.around(minute.first, minute.last)
        if not inside or minute.holed:
            return False
        if minute.sealed:
            return True
        if minute.hollow:
            return False
        if minute.stated is not None:
            return minute.agrees()
        anchored = self.anchor_id == minute.last and self.anchor_ms >= minute.end_ms
        linked = (trust_link and settled and self.linked_ms is not None and self.linked_ms < minute.end_ms) or anchored
        return before and (after or linked)

    def source(self, minute: Minute) -> Source:
        """What a bar from the minute's trades may call itself.

        A correction must outrank what it corrects: it is as live as the copy that was wrong, and newer.
        """
        was_live = minute.written is not None and minute.written.source == Source.LIVE_AGGREGATED
        return Source.LIVE_AGGREGATED if was_live or not minute.rest else Source.LIVE_GAP_FILLED
