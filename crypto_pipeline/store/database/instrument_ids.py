"""Canonical names to the ids that stand for them in every table, remembered for a while.

An id never changes; a name can only get another one after its instrument was deleted without a trace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import UnknownInstrumentError
from crypto_pipeline.store.database.pool import Connections

#: Names are read again after so many seconds.
_REMEMBERED = 60.0


class Symbols:
    """Reads the database for names it does not have yet, and for all of them once a minute. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._ids: dict[str, int] = {}
        self._collected: dict[str, int] = {}
        self._read_at = -_REMEMBERED
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """In a forked child: what is known stays known."""
        self._lock = threading.Lock()

    def ids(self, symbols: Iterable[str]) -> dict[str, int]:
        """Ids of the given instruments. Raises UnknownInstrumentError, with the nearest name."""
        wanted = list(dict.fromkeys(symbols))
        if time.monotonic() - self._read_at > _REMEMBERED or any(symbol not in self._ids for symbol in wanted):
            self._refresh()
        for symbol in wanted:
            if symbol not in self._ids:
                hint = did_you_mean(near_names(symbol, self._ids, 1)) or "see `crypto-pipeline instruments list`"
                raise UnknownInstrumentError(f"unknown instrument {symbol!r}: {hint}")
        return {symbol: self._ids[symbol] for symbol in wanted}

    def names(self) -> dict[int, str]:
        """Every instrument's name by its id, active or not, as the database has it now."""
        self._refresh()
        return {number: symbol for symbol, number in self._ids.items()}

    def collected(self) -> dict[str, int]:
        """Ids of the instruments that are collected, as the database has them now."""
        self._refresh()
        return self._collected

    def _refresh(self) -> None:
        rows = self._connections.rows("SELECT symbol, instrument_id, active FROM market.instruments")
        with self._lock:
            self._ids = {symbol: number for symbol, number, _ in rows}
            self._collected = {symbol: number for symbol, number, active in rows if active}
            self._read_at = time.monotonic()
