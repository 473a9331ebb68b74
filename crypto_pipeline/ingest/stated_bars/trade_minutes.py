"""Minutes made of the trades of a stream that states no bars: those alone of which every trade came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.stream_protocol import LiveBar

_MINUTE = Timeframe.M1.milliseconds
#: A minute is made so long after its end: its last trades are still on their way. Milliseconds.
_SETTLE = 2_000
#: A trade that comes later than so long after its minute is left to REST. Milliseconds.
_LATEST = 5 * _MINUTE


@dataclass(slots=True)
class _Minute:
    """The trades of one minute. Times in Unix ms."""

    open: float
    high: float
    low: float
    close: float
    first_ms: int
    last_ms: int
    volume: float = 0.0
    ids: set[int] = field(default_factory=set)
    #: whether a trade came since the minute was last made
    changed: bool = True

    def add(self, trade: LiveTrade) -> None:
        self.high, self.low = max(self.high, trade.price), min(self.low, trade.price)
        if trade.time_ms < self.first_ms:
            self.first_ms, self.open = trade.time_ms, trade.price
        if trade.time_ms >= self.last_ms:
            self.last_ms, self.close = trade.time_ms, trade.price
        self.volume += trade.quantity
        self.ids.add(trade.trade_id)
        self.changed = True


class TradeMinutes:
    """The newest minutes of one term, in memory. Not thread-safe: use it from one event loop. Times in Unix ms."""

    def __init__(self) -> None:
        self._minutes: dict[str, dict[int, _Minute]] = {}
        #: open time of the first minute of each instrument of which every trade comes
        self._whole_from: dict[str, int] = {}
        #: minutes of which trades may be missing, by (instrument, open time): REST has to state them
        self._partial: set[tuple[str, int]] = set()

    def begin(self, instrument: str, ms: int) -> None:
        """Note that trades from before ``ms`` may be missing, and that all later ones come."""
        open_ms = ms - ms % _MINUTE
        self._drop(instrument, open_ms)
        self._partial.add((instrument, open_ms))
        self._whole_from[instrument] = open_ms + _MINUTE

    def lose(self, instruments: Iterable[str]) -> None:
        """Note that the stream was lost: trades may be missing until ``begin`` is called again."""
        for instrument in instruments:
            self._whole_from.pop(instrument, None)
            self._drop(instrument)

    def take(self, trade: LiveTrade) -> bool:
        """Take in a trade. Returns whether it is new: two connections may bring the same one."""
        open_ms = trade.time_ms - trade.time_ms % _MINUTE
        if open_ms < self._whole_from.get(trade.instrument, open_ms + 1):
            return True
        minutes = self._minutes.setdefault(trade.instrument, {})
        if open_ms not in minutes:
            if minutes and open_ms < max(minutes) - _LATEST:
                return True
            price, ms = trade.price, trade.time_ms
            minutes[open_ms] = _Minute(price, price, price, price, ms, ms)
        elif trade.trade_id in minutes[open_ms].ids:
            return False
        minutes[open_ms].add(trade)
        return True

    def over(self, now_ms: int) -> list[LiveBar]:
        """The minutes that are over and changed since the last call."""
        bars = []
        for instrument, minutes in self._minutes.items():
            for open_ms, one in list(minutes.items()):
                end_ms = open_ms + _MINUTE
                if one.changed and now_ms >= end_ms + _SETTLE:
                    one.changed = False
                    values = one.open, one.high, one.low, one.close, one.volume
                    bars.append(
                        LiveBar(
                            instrument, str(Timeframe.M1), open_ms, *values, None, None, None, None, None, True, end_ms
                        )
                    )
                if now_ms > end_ms + _LATEST:
                    del minutes[open_ms]
        return bars

    def partial(self) -> set[tuple[str, int]]:
        """Minutes, by (instrument, open time), that became known since the last call to lack trades."""
        partial, self._partial = self._partial, set()
        return partial

    def _drop(self, instrument: str, until_ms: int | None = None) -> None:
        """Drop what was not made yet, up to the minute that opens at ``until_ms``: trades of it may be missing."""
        minutes = self._minutes.get(instrument, {})
        for open_ms in [each for each, one in minutes.items() if one.changed and each <= (until_ms or each)]:
            del minutes[open_ms]
            self._partial.add((instrument, open_ms))
