"""Canonical names to the ids that stand for them in every table, remembered: they never change."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable
from typing import Any

import psycopg

from crypto_pipeline.store.errors import UnknownInstrumentError
from crypto_pipeline.store.pool import Connections


class Symbols:
    """Thread-safe. Asks the database again only for names it has not met."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._ids: dict[str, int] = {}

    def ids(self, symbols: Iterable[str]) -> dict[str, int]:
        """Ids of the given instruments. Raises UnknownInstrumentError, with the nearest name."""
        wanted = list(dict.fromkeys(symbols))
        if any(symbol not in self._ids for symbol in wanted):
            self._refresh()
        for symbol in wanted:
            if symbol not in self._ids:
                near = difflib.get_close_matches(symbol, self._ids, 1)
                hint = f"did you mean {near[0]}?" if near else "see `crypto-pipeline instruments list`"
                raise UnknownInstrumentError(f"unknown instrument {symbol!r}: {hint}")
        return {symbol: self._ids[symbol] for symbol in wanted}

    def names(self) -> dict[int, str]:
        """Every instrument's name by its id, active or not, as the database has it now."""
        self._refresh()
        return {number: symbol for symbol, number in self._ids.items()}

    def _refresh(self) -> None:
        def load(connection: psycopg.Connection[Any]) -> dict[str, int]:
            rows = connection.execute("SELECT symbol, instrument_id FROM market.instruments").fetchall()
            return dict(rows)

        loaded = self._connections.run(load)
        with self._lock:
            self._ids = loaded
