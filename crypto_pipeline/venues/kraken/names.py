"""Kraken's names of pairs: ``XXBTZUSD``, ``XBTUSD``, ``XBT/USD`` and ``BTC/USD`` are the same pair."""

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
    """The name in WebSocket v2: ``BTC/USD`` for ``XBT/USD`` or ``BTC/USD``. Raises ValueError."""
    return "/".join(split_pair(name))


def rest_name(name: str) -> str:
    """The name in REST requests: ``XBTUSD`` for ``BTC/USD``; a name without a slash is returned unchanged."""
    if "/" not in name:
        return name
    return "".join(_OWN.get(asset, asset) for asset in split_pair(name))
