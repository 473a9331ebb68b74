"""Tickers of Massive: stocks with a dot before the class of shares, crypto pairs with ``X:`` in front."""

from __future__ import annotations

#: Quote assets of crypto pairs, the longer first, to split ``BTCUSDT``.
_QUOTES = ("USDT", "USDC", "USD", "EUR", "GBP", "JPY", "AUD", "CAD", "BTC", "ETH")


def stock_ticker(symbol: str) -> str:
    """``BRK-B`` and ``BRK/B`` as Massive writes them: ``BRK.B``."""
    return symbol.replace("-", ".").replace("/", ".")


def dashed(ticker: str) -> str:
    """``BRK.B`` as many universes write it: ``BRK-B``."""
    return ticker.replace(".", "-")


def crypto_ticker(base: str, quote: str) -> str:
    """The ticker of bars of a pair, ``X:BTCUSD``."""
    return f"X:{base}{quote}"


def crypto_pair(ticker: str) -> tuple[str, str]:
    """Base and quote of ``X:BTCUSD``. Raises ValueError where the quote asset is not known."""
    joined = ticker.removeprefix("X:")
    if "-" in joined:
        base, _, quote = joined.partition("-")
        return base, quote
    for quote in _QUOTES:
        if joined.endswith(quote) and len(joined) > len(quote):
            return joined[: -len(quote)], quote
    raise ValueError(f"{ticker!r} is no pair that can be split: its quote asset is none of {', '.join(_QUOTES)}")
