"""The symbols of the exchange: names, decimal places, and when each was listed and delisted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from crypto_pipeline.market.times import midnight, unix_ms
from crypto_pipeline.replay.errors import ReplayError

DAY_MS = 86_400_000
#: Quote assets, longest first, so that BTCUSDT is BTC/USDT and not BTCUS/DT. Aliases such as XBT are kept.
QUOTES = (
    *("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "PERP", "USD", "EUR", "GBP", "TRY", "JPY", "AUD", "BRL"),
    *("BTC", "ETH", "BNB"),
)


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """One symbol as the exchange lists it. Prices have ``tick_decimals`` places, quantities ``step_decimals``."""

    symbol: str
    base: str
    quote: str
    tick_decimals: int
    step_decimals: int
    listed_ms: int
    delisted_ms: int | None = None

    @property
    def canonical(self) -> str:
        """The project's own name, BASE-QUOTE."""
        return f"{self.base}-{self.quote}"

    def status(self, now_ms: int) -> str:
        """TRADING, or BREAK once delisted."""
        return "BREAK" if self.delisted_ms is not None and now_ms >= self.delisted_ms else "TRADING"


@dataclass(frozen=True, slots=True)
class GeneratedSymbol:
    """A symbol of the generated market with the parameters of its tape."""

    info: SymbolInfo
    level: float
    trades_per_minute: float
    daily_volatility: float
    beta: float


def split_symbol(name: str) -> tuple[str, str]:
    """Base and quote of ``BTC_USDT``, ``BTC-USDT``, ``BTC/USDT`` or ``BTCUSDT``. Raises ValueError for others."""
    text = name.upper()
    for separator in "_-/":
        base, found, quote = text.partition(separator)
        if found and base and quote:
            return base, quote
    for quote in QUOTES:
        if text.endswith(quote) and len(text) > len(quote):
            return text[: -len(quote)], quote
    raise ValueError(f"unknown symbol {name!r}: write BASE-QUOTE, for example BTC-USDT")


def _ms(day: str) -> int:
    return unix_ms(midnight(date.fromisoformat(day)))


#: First day of the generated market; nothing was listed before.
MARKET_START_MS = _ms("2017-08-17")
#: End of the generated market. The daily draws cover start to end, so another end would change every tape.
MARKET_END_MS = _ms("2050-01-03")

# base:price, in the order of the default universe. Order decides liquidity and listing date.
_LARGE = (
    "BTC:90000 ETH:3200 SOL:150 BNB:700 XRP:1.5 ADA:0.6 AVAX:28 DOGE:0.17 DOT:6 POL:0.4 LINK:15 TON:4 SHIB:0.00002 "
    "TRX:0.2 UNI:9 ATOM:7 BCH:450 APT:8 NEAR:5 ICP:9"
)
_MID = (
    "ARB:0.7 OP:1.6 AAVE:180 CRV:0.5 MKR:1800 LDO:1.4 SUSHI:1 COMP:55 SNX:2 BAL:2.5 INJ:20 SEI:0.4 PENDLE:4 BLUR:0.3 "
    "ENS:22 GRT:0.2 RENDER:6 FET:1.3 RPL:12 SAND:0.4 FIL:5 RUNE:4 IMX:1.4 FLOW:0.7 MANA:0.45 AXS:6 CHZ:0.08 GALA:0.03 "
    "LRC:0.2 OCEAN:0.6 QNT:90 ALGO:0.2 XLM:0.15 XMR:160 ZEC:40 DASH:30 HBAR:0.1 VET:0.03 THETA:1.5 EOS:0.7 KSM:25 "
    "STX:1.8 KAS:0.12 TIA:5 JTO:3 JUP:0.9 PYTH:0.4 DYM:2 STRK:0.5 ALT:0.12"
)
_MEME = (
    "PEPE:0.00001 WIF:2 BONK:0.00002 FLOKI:0.00015 MEME:0.012 POPCAT:0.9 MEW:0.006 TURBO:0.005 NEIRO:0.001 PNUT:0.6 "
    "GOAT:0.4 ACT:0.2 TRUMP:12 FARTCOIN:0.7 MOG:0.0000012 PONKE:0.3 TREMP:0.2 BRETT:0.1 GIGA:0.03 HIPPO:0.01"
)

# Some less liquid symbols are listed or delisted in recent months and later, so that tests meet such events.
_LISTED = {
    "ALT": "2026-06-09 10:00",
    "GOAT": "2026-07-14 13:30",
    "ACT": "2026-08-20 08:00",
    "TRUMP": "2026-09-17 12:00",
    "FARTCOIN": "2026-10-06 11:17",
    "MOG": "2026-10-29 09:00",
    "GIGA": "2026-11-12 14:00",
    "HIPPO": "2026-11-18 10:30",
}
_DELISTED = {
    "OCEAN": "2026-07-02 03:00",
    "EOS": "2026-09-01 08:00",
    "BAL": "2026-10-15 03:00",
    "TREMP": "2026-11-17 06:00",
    "PONKE": "2027-02-11 03:00",
    "LRC": "2027-06-03 03:00",
    "MEME": "2027-10-07 03:00",
    "SUSHI": "2028-03-02 03:00",
}


def _moment_ms(text: str) -> int:
    return unix_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _decimals(level: float) -> tuple[int, int]:
    """Decimal places of price and quantity; at most 8 together, so that price × quantity is exact in 8 places."""
    tick = min(8, max(2, math.ceil(4 - math.log10(level))))
    return tick, min(8 - tick, max(0, math.ceil(math.log10(level))))


def _symbol(base: str, quote: str, level: float, rank: int, rate: float, volatility: float) -> GeneratedSymbol:
    tick, step = _decimals(level)
    listed = _moment_ms(_LISTED[base]) if base in _LISTED else MARKET_START_MS + rank * 20 * DAY_MS
    delisted = _moment_ms(_DELISTED[base]) if base in _DELISTED else None
    info = SymbolInfo(base + quote, base, quote, tick, step, listed, delisted)
    return GeneratedSymbol(info, level, rate, volatility, beta=1.0 if base == "BTC" else 0.8 + (rank % 7) * 0.1)


def _default_symbols() -> list[GeneratedSymbol]:
    symbols: list[GeneratedSymbol] = []
    tiers = ((_LARGE, 12.0, 0.93, 0.028), (_MID, 4.0, 0.94, 0.04), (_MEME, 2.0, 0.87, 0.06))
    for text, rate, decay, volatility in tiers:
        for place, entry in enumerate(text.split()):
            base, _, price = entry.partition(":")
            # Later symbols of each tier trade less; the last mids and memes trade in fewer than a third of all minutes.
            floor = 5.0 if text is _LARGE else 0.12
            per_minute = max(floor, rate * decay**place)
            symbols.append(_symbol(base, "USDT", float(price), len(symbols), per_minute, volatility))
    return symbols


DEFAULT_SYMBOLS = tuple(_default_symbols())


def choose_symbols(instruments: str | int | Iterable[str] | None) -> dict[str, GeneratedSymbol]:
    """The generated market's symbols: all, the first N, or those of a list; unknown bases get a price level. Raises
    ReplayError for another value."""
    if instruments is None or instruments == "all":
        return {one.info.symbol: one for one in DEFAULT_SYMBOLS}
    if isinstance(instruments, int) or (isinstance(instruments, str) and instruments.strip().isdigit()):
        count = int(instruments)
        if count < 1:
            raise ReplayError(f"instruments {instruments!r}: use a number from 1, or a list such as BTC-USDT,ETH-USDT")
        return {one.info.symbol: one for one in DEFAULT_SYMBOLS[:count]}
    names = instruments.split(",") if isinstance(instruments, str) else list(instruments)
    known = {one.info.symbol: one for one in DEFAULT_SYMBOLS}
    chosen: dict[str, GeneratedSymbol] = {}
    for name in (name.strip() for name in names):
        try:
            base, quote = split_symbol(name)
        except ValueError as error:
            raise ReplayError(str(error)) from None
        one = known.get(base + quote) or _unknown_symbol(base, quote)
        chosen[one.info.symbol] = one
    return chosen


def _unknown_symbol(base: str, quote: str) -> GeneratedSymbol:
    """A pair outside the default universe: price level and liquidity come from its name; it is listed from the
    start.
    """
    mark = sum((place + 1) * ord(letter) for place, letter in enumerate(base + quote))
    base_level = next((one.level for one in DEFAULT_SYMBOLS if one.info.base == base), 0.05 * 1.7 ** (mark % 12))
    quote_level = next((one.level for one in DEFAULT_SYMBOLS if one.info.base == quote), 1.0)
    level = max(base_level / quote_level, 1e-5)
    tick, step = _decimals(level)
    info = SymbolInfo(base + quote, base, quote, tick, step, MARKET_START_MS)
    return GeneratedSymbol(info, level, 0.3 + mark % 5, 0.04, 1.0)
