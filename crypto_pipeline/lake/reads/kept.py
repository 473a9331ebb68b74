"""Values of the mirror's files in memory: those of whole files that were used last are kept for the next read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import polars as pl

from crypto_pipeline.lake.reads.pages import Numbers
from crypto_pipeline.store.mirror.catalogue import MirrorFile

#: Bytes of kept values in a process: 180 days of 1m bars of ten instruments.
KEPT_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True)
class Values:
    """Open times in Unix ms, and columns by name, ``open_time`` among them."""

    times: Numbers
    columns: Mapping[str, pl.Series]

    @property
    def bytes(self) -> int:
        """Bytes of the columns."""
        return sum(int(column.estimated_size()) for column in self.columns.values())

    def slice(self, first: int, rows: int) -> Values:
        """``rows`` rows from the ``first`` on, without a copy."""
        return Values(
            self.times[first : first + rows], {name: each.slice(first, rows) for name, each in self.columns.items()}
        )


def joined(parts: Sequence[Values]) -> dict[str, pl.Series]:
    """The columns of parts one after the other, without a copy."""
    return {name: pl.concat([part.columns[name] for part in parts], rechunk=False) for name in parts[0].columns}


class KeptValues:
    """Values of whole files in memory, those that were used last. Thread-safe."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._found: OrderedDict[str, Values] = OrderedDict()
        self._lock = Lock()

    def get(self, file: MirrorFile) -> Values | None:
        """The values of a file if they are kept."""
        with self._lock:
            found = self._found.get(file.sha256)
            if found is not None:
                self._found.move_to_end(file.sha256)
            return found

    def put(self, file: MirrorFile, values: Values) -> None:
        """Keep the values of a file; those that were not used for longest are given up."""
        with self._lock:
            if file.sha256 not in self._found:
                self._found[file.sha256] = values
                self._bytes += values.bytes
            while self._bytes > self._most and self._found:
                self._bytes -= self._found.popitem(last=False)[1].bytes

    def clear(self) -> None:
        """Give up all values."""
        with self._lock:
            self._found.clear()
            self._bytes = 0
