"""The accounts of one exchange, kept up with the tape at the clock's time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.market.live_tape import TradeCursor
from crypto_pipeline.replay.market.symbols import SymbolInfo
from crypto_pipeline.replay.market.tape import Tape
from crypto_pipeline.replay.orders.account import TapeTrade, TradingAccount
from crypto_pipeline.replay.server.parameters import Refused

#: The account of an exchange for which no other is named: its key, its secret, what it holds at the start.
DEFAULT_KEY, DEFAULT_SECRET = "replay-key", "replay-secret"
DEFAULT_BALANCES = {"USDT": Decimal(1_000_000)}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key: what signs its requests, and the balances of its account at the start."""

    secret: str
    balances: Mapping[str, Decimal]


class AccountDesk:
    """The accounts by API key. ``advance`` lets the trades up to now fill their orders; requests call it first."""

    def __init__(self, market: Tape, clock: VirtualClock, keys: Mapping[str, ApiKey] | None = None) -> None:
        self.market, self.clock = market, clock
        self.keys = dict(keys or {DEFAULT_KEY: ApiKey(DEFAULT_SECRET, DEFAULT_BALANCES)})
        self.accounts = {key: TradingAccount(one.balances) for key, one in self.keys.items()}
        self._cursors: dict[str, TradeCursor] = {}
        self._last: dict[str, tuple[int, Decimal]] = {}
        self._days: dict[str, tuple[int, list[int], list[str]]] = {}

    def advance(self) -> None:
        """Match the open orders of all accounts with the trades of the tape up to now."""
        now = self.clock.now_ms()
        wanted = {symbol for account in self.accounts.values() for symbol in account.open_symbols()}
        for symbol in [symbol for symbol in self._cursors if symbol not in wanted]:
            del self._cursors[symbol]
        for symbol in wanted:
            self._advance(symbol, now)

    def follow(self, symbol: str, now_ms: int) -> None:
        """Match orders of this symbol with the trades after ``now_ms``, from its first open order on."""
        self._cursors.setdefault(symbol, TradeCursor(self.market, symbol, now_ms))

    def _advance(self, symbol: str, now_ms: int) -> None:
        cursor = self._cursors.get(symbol)
        if cursor is None:
            self.follow(symbol, now_ms)
        else:
            for row in cursor.advance(now_ms):
                trade: TapeTrade = (Decimal(row[1]), Decimal(row[2]), row[5], row[6])
                self._last[symbol] = row[5], trade[0]
                for account in self.accounts.values():
                    account.trade(symbol, trade)
        for account in self.accounts.values():
            if any(order.rest_due_ms is not None for order in account.open_orders(symbol)):
                account.finish_due(symbol, self.last_price(symbol, now_ms), now_ms)

    def last_price(self, symbol: str, now_ms: int) -> Decimal:
        """Price of the last trade up to ``now_ms``. Raises Refused before the first one."""
        times, prices = self._day(symbol, now_ms)
        place = bisect_right(times, now_ms) - 1
        if place < 0:
            raise Refused(-1013, "Market is closed.")
        return Decimal(prices[place])

    def _day(self, symbol: str, now_ms: int) -> tuple[list[int], list[str]]:
        """Times and prices of the chunk of the tape that holds the last trade up to ``now_ms``."""
        width = self.market.trade_width
        kept = self._days.get(symbol)
        if kept is not None and kept[0] <= now_ms < kept[0] + width and kept[1] and kept[1][0] <= now_ms:
            return kept[1], kept[2]
        found = self.market.seek_trade(symbol, now_ms, forward=False)
        while found is not None:
            chunk = found - found % width
            frame = self.market.trade_text(symbol, chunk)
            times = frame["time_ms"].to_list()
            if times and times[0] <= now_ms:
                self._days[symbol] = chunk, times, frame["price"].to_list()
                return times, self._days[symbol][2]
            found = self.market.seek_trade(symbol, chunk - 1, forward=False)
        return [], []

    def listed(self, name: str) -> SymbolInfo:
        """The symbol, where it trades now. Raises Refused."""
        info = self.market.symbol(name)
        if info is None or self.clock.now_ms() < info.listed_ms:
            raise Refused(-1121, "Invalid symbol.")
        return info
