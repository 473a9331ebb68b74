"""Reads request parameters as Binance does; invalid ones are refused with Binance's codes and texts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.market.symbols import SymbolInfo
from crypto_pipeline.replay.market.tape import Tape

_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
_MICROSECONDS_FROM = 100_000_000_000_000
MAX_ROWS = 1000
DEFAULT_ROWS = 500


class Refused(Exception):  # noqa: N818  (reads as the fact it states)
    """The request is refused with an error body ``{"code", "msg"}``."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def mandatory(query: Mapping[str, str], name: str) -> str:
    """The parameter's text. Raises Refused with -1102."""
    text = query.get(name, "")
    if not text:
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return text


def symbol(name: str, market: Tape, now_ms: int) -> SymbolInfo:
    """The symbol with this name at ``now_ms``. Refused with -1100 for bad characters, -1121 for an unknown one."""
    if not _SYMBOL.fullmatch(name):
        raise Refused(-1100, _illegal("symbol", r"^[A-Z0-9-_.]{1,20}$"))
    info = market.symbol(name)
    if info is None or now_ms < info.listed_ms:
        raise Refused(-1121, "Invalid symbol.")
    return info


def interval(query: Mapping[str, str]) -> Timeframe:
    """The timeframe. Raises Refused with -1120. Case matters (1M is not 1m); only the project's timeframes are
    served.
    """
    try:
        return Timeframe(mandatory(query, "interval"))
    except ValueError:
        raise Refused(-1120, "Invalid interval.") from None


def whole_number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number that is not negative; None if it was not sent. Raises Refused with -1100."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise Refused(-1100, _illegal(name, r"^[0-9]{1,20}$"))
    return int(text)


def time_bounds(query: Mapping[str, str]) -> tuple[int | None, int | None]:
    """``startTime`` and ``endTime`` in Unix ms, both inclusive; values of the size of microseconds are converted."""
    start, end = whole_number(query, "startTime"), whole_number(query, "endTime")
    if start is not None and start >= _MICROSECONDS_FROM:
        start = -(-start // 1000)
    if end is not None and end >= _MICROSECONDS_FROM:
        end //= 1000
    return start, end


def row_limit(query: Mapping[str, str]) -> int:
    """Greatest number of rows: 500 if not sent, at most 1000. Raises Refused with -1130 for zero."""
    limit = whole_number(query, "limit")
    if limit is None:
        return DEFAULT_ROWS
    if limit < 1:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, MAX_ROWS)


def _illegal(name: str, legal: str) -> str:
    return f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
