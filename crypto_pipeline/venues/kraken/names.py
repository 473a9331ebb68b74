"""Kraken's many names for one pair: ``XXBTZUSD``, ``XBTUSD``, ``XBT/USD`` and ``BTC/USD`` are the same."""

from __future__ import annotations

_COMMON = {"XBT": "BTC", "XDG": "DOGE"}
_OWN = {common: own for own, common in _COMMON.items()}


def common_asset(asset: str) -> str:
    """The common name of a Kraken asset: BTC for XBT."""
    return _COMMON.get(asset, asset)


def split_pair(name: str) -> tuple[str, str]:
    """Base and quote of ``XBT/USD``, under their common names. Raises ValueError for another shape."""
    base, slash, quote = name.partition("/")
    if not (base and slash and quote):
        raise ValueError(f"not a pair of Kraken: {name!r} (write BASE/QUOTE, for example BTC/USD)")
    return common_asset(base), common_asset(quote)


def stream_name(name: str) -> str:
    """As WebSocket v2 writes it: ``BTC/USD`` of ``XBT/USD`` or ``BTC/USD``."""
    return "/".join(split_pair(name))


def rest_name(name: str) -> str:
    """As REST takes it: ``XBTUSD`` of ``BTC/USD``; a name without a slash is taken to be REST's own."""
    if "/" not in name:
        return name
    return "".join(_OWN.get(asset, asset) for asset in split_pair(name))
