"""The one function that computes features, for history and for live alike (invariant I6).

It takes bars as they lie in the bar tables and gives rows ``[start, end)``; how far back the bars reach decides only
whether the first rows are warm (``LOOK_BACK`` is enough). Everything is laid on gapless grids that all instruments
share, so what belongs to the same moment has the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache

import polars as pl

from crypto_pipeline.features.blocks import FeatureInputs
from crypto_pipeline.features.definitions.code_hash import Definition
from crypto_pipeline.features.definitions.registry import FEATURES, NAMES, ROW_SCHEMA, STATES
from crypto_pipeline.features.definitions.schema_hash import hash_of_rows
from crypto_pipeline.market.timeframes import Timeframe

#: Days of own bars before a row's day that can change it, by timeframe: every warm-up fits.
LOOK_BACK: dict[Timeframe, int] = {Timeframe.M15: 9, Timeframe.H1: 11, Timeframe.H4: 42, Timeframe.D1: 21}
#: The same of the benchmark's bars (a week's correlation; SMA 200 of 4h), and of everyone's 15m bars (rank).
BENCHMARK_LOOK_BACK: dict[Timeframe, int] = {Timeframe.M15: 8, Timeframe.H4: 34}
MARKET_LOOK_BACK = 1

Bars = Mapping[Timeframe, pl.DataFrame]
#: A function of the form of ``compute_features``, as the checks take it.
Compute = Callable[[Bars, datetime, datetime], pl.DataFrame]
#: Rows that are computed together: enough that calls cost nothing, few enough that all arrays of them stay in cache.
#: Measured: two threads gain nothing, since steps this short hand Python's lock over more often than they work.
_BLOCK_ROWS = 20_000


def compute_features(
    bars: Bars,
    start: datetime,
    end: datetime,
    *,
    benchmark: str | None,
    instruments: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Rows of ``instruments`` (default: all) whose open time lies in ``[start, end)``, in ROW_SCHEMA, sorted.

    ``bars`` maps 15m, 1h, 4h and 1d (those that are missing count as empty) to frames with ``instrument``,
    ``open_time`` (UTC) and prices, the bars of an instrument together. Every instrument with 15m bars takes part in
    rank and breadth; ``benchmark`` names the one that the market features refer to. Only bars that have closed may be
    given.
    """
    inputs = FeatureInputs.from_bars(bars, start, end, benchmark)
    members = {} if inputs is None else inputs.members
    chosen = sorted(members) if instruments is None else sorted(set(instruments) & set(members))
    frames = [frame for _, frame in _blocks(inputs, chosen)]
    return pl.concat([pl.DataFrame(schema=ROW_SCHEMA), *frames])


def feature_frames(
    bars: Bars,
    start: datetime,
    end: datetime,
    benchmark: str | None,
    instruments: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """The rows of ``compute_features`` one instrument at a time, so that not all of them are in memory at once.

    One frame for each of ``instruments`` in their order (default: all that have bars, sorted), empty without bars.
    """
    inputs = FeatureInputs.from_bars(bars, start, end, benchmark)
    members = {} if inputs is None else inputs.members
    chosen = sorted(members) if instruments is None else list(instruments)
    blocks = _blocks(inputs, [name for name in dict.fromkeys(chosen) if name in members])
    computed: dict[str, pl.DataFrame] = {}
    for instrument in chosen:
        if instrument in members and instrument not in computed:
            names, rows = next(blocks)
            parts = rows.partition_by("instrument", as_dict=True) if len(names) > 1 else {(names[0],): rows}
            computed = {name: parts.get((name,), rows.clear()) for name in names}
        yield computed.get(instrument, pl.DataFrame(schema=ROW_SCHEMA))


#: What stored rows come from.
ENTRIES = tuple(
    Definition(__name__, name)
    for name in ("compute_features", "feature_frames", "LOOK_BACK", "BENCHMARK_LOOK_BACK", "MARKET_LOOK_BACK")
)


@cache
def schema_hash() -> str:
    """Which features there are and how they are computed: stored rows that have another one are stale.

    The same for code that gives the same numbers, wherever it stands (see ``schema_hash.hash_of_rows``). The first call
    reads the source: some 50 ms.
    """
    return hash_of_rows(ENTRIES)


def _blocks(inputs: FeatureInputs | None, instruments: Sequence[str]) -> Iterator[tuple[Sequence[str], pl.DataFrame]]:
    """Rows of a few instruments at a time, in order: for the newest rows many together, of long history one."""
    if inputs is None:
        return
    size = max(1, _BLOCK_ROWS // max(inputs.grid.rows, 1))
    for first in range(0, len(instruments), size):
        names = instruments[first : first + size]
        yield names, inputs.rows(names)


__all__ = [
    "BENCHMARK_LOOK_BACK",
    "FEATURES",
    "LOOK_BACK",
    "MARKET_LOOK_BACK",
    "NAMES",
    "ROW_SCHEMA",
    "STATES",
    "Bars",
    "Compute",
    "compute_features",
    "feature_frames",
    "schema_hash",
]
