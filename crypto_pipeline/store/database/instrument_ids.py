"""Ids of instruments in all tables by canonical name, cached for a while.

An id never changes. A name gets another id only after its instrument was deleted completely.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from crypto_pipeline.market.calendars import ALWAYS
from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import UnknownInstrumentError
from crypto_pipeline.store.database.pool import Connections

#: Seconds after which all names are read again.
_REMEMBERED = 60.0


class Symbols:
    """Caches ids. Unknown names are looked up in the database, and all names are read again each minute.
    Thread-safe.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._ids: dict[str, int] = {}
        self._collected: dict[str, int] = {}
        self._calendars: dict[str, str] = {}
        self._quotes: dict[str, str] = {}
        self._read_at = -_REMEMBERED
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Keep the cache in a forked child."""
        self._lock = threading.Lock()

    def ids(self, symbols: Iterable[str]) -> dict[str, int]:
        """Ids of the given instruments. Raises UnknownInstrumentError that suggests the nearest name."""
        wanted = list(dict.fromkeys(symbols))
        if time.monotonic() - self._read_at > _REMEMBERED or any(symbol not in self._ids for symbol in wanted):
            self._refresh()
        for symbol in wanted:
            if symbol not in self._ids:
                hint = did_you_mean(near_names(symbol, self._ids, 1)) or "see `crypto-pipeline instruments list`"
                raise UnknownInstrumentError(f"unknown instrument {symbol!r}: {hint}")
        return {symbol: self._ids[symbol] for symbol in wanted}

    def names(self) -> dict[int, str]:
        """Names of all instruments by id, active or not, read from the database now."""
        self._refresh()
        return {number: symbol for symbol, number in self._ids.items()}

    def collected(self) -> dict[str, int]:
        """Ids of the collected instruments, read from the database now."""
        self._refresh()
        return self._collected

    def calendars(self, symbols: Iterable[str]) -> dict[str, str]:
        """The calendar of each of the given instruments that does not trade always, as ``ids`` knows them."""
        return {symbol: self._calendars[symbol] for symbol in self.ids(symbols) if symbol in self._calendars}

    def quotes(self, symbols: Iterable[str]) -> dict[str, str]:
        """The asset in which each of the given instruments is quoted, as ``ids`` knows them."""
        return {symbol: self._quotes[symbol] for symbol in self.ids(symbols)}

    def _refresh(self) -> None:
        rows = self._connections.rows("SELECT symbol, instrument_id, active, calendar, quote FROM market.instruments")
        with self._lock:
            self._ids = {symbol: number for symbol, number, _, _, _ in rows}
            self._collected = {symbol: number for symbol, number, active, _, _ in rows if active}
            self._calendars = {symbol: calendar for symbol, _, _, calendar, _ in rows if calendar != ALWAYS.name}
            self._quotes = {symbol: quote for symbol, _, _, _, quote in rows}
            self._read_at = time.monotonic()
