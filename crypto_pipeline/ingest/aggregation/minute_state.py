"""The minutes of one instrument as they fill with trades, and what is proven about each."""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto_pipeline.ingest.aggregation.trade_ids import IdSpans
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.trades.individual_trades import new_singles
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.stream_protocol import LiveBar

MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Written:
    """The copy of a minute's bar that was stored last."""

    complete: bool
    source: str
    #: number of trades it was made from, and their newest change; not known of a copy of an earlier process
    trades: int = -1
    changed_ms: int = 0


class Minute:
    """The trades of one minute, taken in any order, with the running figures of its bar. Times in Unix milliseconds."""

    __slots__ = (
        "changed_ms",
        "changed_since_write",
        "close",
        "count",
        "first",
        "has_hidden_ids",
        "has_rest_trades",
        "high",
        "last",
        "last_single",
        "low",
        "open",
        "open_ms",
        "ordered",
        "quote",
        "rest_requests",
        "retry_at",
        "settled",
        "stated",
        "stated_by_rest",
        "summary_only",
        "taker",
        "trades",
        "trades_incomplete",
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
        self.has_rest_trades = False
        #: REST stated all trades of it after its end
        self.stated_by_rest = False
        #: venue time of the newest change after its end
        self.changed_ms = open_ms + MINUTE
        self.written: Written | None = None
        #: something changed since its bar was written
        self.changed_since_write = True
        #: reopened after it was forgotten: known ids may have no trade here, until REST states the minute
        self.trades_incomplete = False
        #: the venue itself does not show some of its ids, so it cannot be proven complete
        self.has_hidden_ids = False
        #: the figures were summed in the order of ids, as the batch function sums
        self.ordered = True
        #: a proven bar is stored; then the trades are dropped and only the figures are kept
        self.settled = False
        self.summary_only = False
        #: how often it was requested because it is not proven, and when it may be requested again (monotonic)
        self.rest_requests = 0
        self.retry_at = 0.0

    @property
    def end_ms(self) -> int:
        """Exclusive."""
        return self.open_ms + MINUTE

    def add(self, trade: LiveTrade) -> None:
        """Add a trade that is not in the minute yet."""
        price, quantity = trade.price, trade.quantity
        if not self.trades:
            self.first = self.last = trade.trade_id
            self.open = self.high = self.low = self.close = price
            self.last_single = trade.last_id
        elif trade.trade_id > self.last:
            self.last, self.close = trade.trade_id, price
            if trade.first_id <= self.last_single:
                self.ordered = False  # sums trades that another one sums: counted once by put_in_order
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
        self.changed_since_write = True

    def replace(self, trades: list[LiveTrade]) -> None:
        """Replace the trades by exactly these."""
        self.trades = []
        self.first = self.last = self.last_single = self.count = 0
        self.open = self.high = self.low = self.close = 0.0
        self.volume = self.quote = self.taker = 0.0
        self.changed_since_write = self.ordered = True
        for trade in trades:
            self.add(trade)

    def put_in_order(self) -> None:
        """Sum again in the order of ids, on which float sums depend. Individual trades are counted once."""
        if self.ordered:
            return
        trades = sorted(self.trades, key=lambda trade: trade.trade_id)
        self.replace(trades)
        if not self.ordered:
            new = new_singles((trade.first_id, trade.last_id) for trade in trades)
            last, last_single = self.last, self.last_single
            self.replace([trade for trade, count in zip(trades, new, strict=True) if count])
            # the minute keeps all of its trades, also those that repeat others
            self.trades, self.count, self.last, self.last_single = trades, sum(new), last, last_single
            self.ordered = True

    def drop_trades(self) -> None:
        """The bar is stored and proven: keep the figures only."""
        self.settled = self.summary_only = True
        self.changed_since_write = False
        self.trades = []

    def agrees(self) -> bool:
        """Whether the venue's closed bar matches our trades: as many of them, up to the same id."""
        stated = self.stated
        if stated is None:
            return False
        if stated.trade_count is not None:
            if stated.trade_count != self.count:
                return False
            if self.count and stated.last_id is not None and stated.last_id >= 0 and stated.last_id != self.last_single:
                return False
        return abs(stated.volume - self.volume) <= 1e-9 * max(stated.volume, self.volume)


@dataclass(slots=True, eq=False)
class InstrumentStream:
    """One instrument: its known ids, its newest minutes, and the newest trade that the venue has announced."""

    symbol: str
    ids: IdSpans = field(default_factory=IdSpans)
    minutes: dict[int, Minute] = field(default_factory=dict)
    current: Minute | None = None
    #: newest trade by id
    last: LiveTrade | None = None
    #: the newest id that the venue announced, and when
    anchor_id: int = -1
    anchor_ms: int = 0
    #: the newest individual trade that the venue's own bars include
    single_id: int = -1
    #: minutes that opened before this are not in memory any more
    forgotten_until_ms: int = 0
    #: the highest value that ``forgotten_until_ms`` ever had: minutes may be reopened
    ever_forgotten_until_ms: int = 0
    #: a connection has been up without a break since then; None: there is none
    linked_ms: int | None = None
    #: monotonic time of the newest message about it
    last_message_at: float = 0.0

    def minute(self, open_ms: int) -> Minute:
        """The minute that opens at ``open_ms``; a new one where none is in memory."""
        minute = self.minutes.get(open_ms)
        if minute is None:
            minute = self.minutes[open_ms] = Minute(open_ms)
            minute.trades_incomplete = open_ms < self.ever_forgotten_until_ms
        return minute

    def drop(self, open_ms: int) -> None:
        """Forget a minute and all before it."""
        del self.minutes[open_ms]
        self.forgotten_until_ms = max(self.forgotten_until_ms, open_ms + MINUTE)
        self.ever_forgotten_until_ms = max(self.ever_forgotten_until_ms, self.forgotten_until_ms)

    @property
    def behind(self) -> bool:
        """Whether the venue has announced a trade that is newer than our newest."""
        if self.last is None:
            return self.anchor_id > 0 or self.single_id > 0
        return self.anchor_id > self.last.trade_id or self.single_id > self.last.last_id

    def take(self, trade: LiveTrade) -> Minute | None:
        """Take in a trade; returns its minute, or None when its id is known. A minute with a summary only stays so."""
        if not self.ids.add(trade.trade_id, trade.time_ms, trade.first_id, trade.last_id):
            return None
        if self.last is None or trade.trade_id > self.last.trade_id:
            self.last = trade
        current = self.current
        open_ms = trade.time_ms - trade.time_ms % MINUTE
        if current is None or current.open_ms != open_ms:
            current = self.minute(open_ms)
            if current.summary_only:
                return current
            if self.current is None or open_ms > self.current.open_ms:
                self.current = current
        elif current.summary_only:
            return current
        current.add(trade)
        return current

    def proven(self, minute: Minute, *, trust_link: bool, settled: bool) -> bool:
        """Whether no trade of the minute can be missing.

        By ids: those of the minute are consecutive, and so are those of a trade before and one after it. An edge is
        also proven by REST (it stated the whole minute), by the venue's closed bar with the same count, by an anchor
        (the newest id at a later time is our last), and, for a venue that states neither, by an unbroken connection.
        """
        if not minute.count:
            return False
        inside, before, after = self.ids.around(minute.first, minute.last)
        if not inside or minute.has_hidden_ids:
            return False
        if minute.stated_by_rest:
            return True
        if minute.trades_incomplete:
            return False
        if minute.stated is not None:
            return minute.agrees()
        anchored = self.anchor_id == minute.last and self.anchor_ms >= minute.end_ms
        linked = (trust_link and settled and self.linked_ms is not None and self.linked_ms < minute.end_ms) or anchored
        return before and (after or linked)

    def source(self, minute: Minute) -> BarOrigin:
        """The source of a bar from the minute's trades.

        A correction must outrank the copy that it corrects: it has the same source, and is newer.
        """
        was_live = minute.written is not None and minute.written.source == BarOrigin.LIVE_AGGREGATED
        return BarOrigin.LIVE_AGGREGATED if was_live or not minute.has_rest_trades else BarOrigin.LIVE_GAP_FILLED
