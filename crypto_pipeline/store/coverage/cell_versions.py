"""Versions of coverage cells, which show whether bars changed; concurrent queries are coalesced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.coalescer import QueryCoalescer
from crypto_pipeline.store.database.pool import Connections

_MOST = 256
# The sum and not the greatest version: see store.coverage
_SUM = """
SELECT count(*) AS cells, coalesce(sum(c.data_version), 0)::bigint AS version FROM market.coverage c
WHERE c.timeframe = {timeframe} AND c.day BETWEEN {first} AND {last} AND c.instrument_id = {who} AND c.data_version > 0
"""
_ONE = _SUM.format(timeframe="%s", first="%s", last="%s", who="ANY(%s::int[])")
_SEVERAL = f"""
SELECT array_agg(v.cells ORDER BY i.place), array_agg(v.version ORDER BY i.place)
FROM unnest(%s::int[], %s::text[], %s::date[], %s::date[]) WITH ORDINALITY AS i (number, timeframe, first, last, place)
CROSS JOIN LATERAL ({_SUM.format(timeframe="i.timeframe", first="i.first", last="i.last", who="i.number")}) v
"""  # noqa: S608  (constants only)


@dataclass(frozen=True, slots=True)
class CellRange:
    """Coverage cells of some instruments of one timeframe.

    Attributes:
        timeframe: Of the bars.
        first: First UTC day.
        last: Last UTC day, included.
        numbers: Ids of the instruments.
    """

    timeframe: Timeframe
    first: date
    last: date
    numbers: tuple[int, ...]


class Versions:
    """Reads versions. Thread-safe.

    Callers that ask at the same time share one query.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._combiner: QueryCoalescer[CellRange, str] = QueryCoalescer(self._work, connections.patience, _MOST)

    def of(self, cells: CellRange) -> str:
        """A text that differs after any change in the cells."""
        if len(cells.numbers) == 1:
            return self._combiner.ask(None, cells)
        return self._work([cells])[0]

    def _work(self, several: Sequence[CellRange]) -> list[str]:
        if len(several) == 1:
            (one,) = several
            values: list[Any] = [str(one.timeframe), one.first, one.last, list(one.numbers)]
            count, version = self._connections.row(_ONE, values)
            return [f"{count}.{version}"]
        values = [[cells.numbers[0] for cells in several], [str(cells.timeframe) for cells in several]]
        values += [[cells.first for cells in several], [cells.last for cells in several]]
        counts, versions = self._connections.row(_SEVERAL, values)
        return [f"{count}.{version}" for count, version in zip(counts, versions, strict=True)]
