"""The one function that computes features, for history and for live alike (invariant I6).

It takes bars as they lie in the bar tables and gives rows ``[start, end)``; how far back the bars reach decides only
whether the first rows are warm (``LOOK_BACK`` is enough). Everything is laid on gapless grids that all instruments
share, so what belongs to the same moment has the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.features import higher, regimes
from crypto_pipeline.features.bar_features import BAR_FEATURES, DAY, ELIGIBLE, SHARED, WEEK, base, lr, share
from crypto_pipeline.features.grid import Floats, Grid, take
from crypto_pipeline.features.higher import HIGHER, HIGHER_FEATURES
from crypto_pipeline.features.market_features import BENCHMARK, MARKET_FEATURES, RELATIVE, CrossSection, cross_section
from crypto_pipeline.features.registry import Feature, schema_hash
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe

FEATURES: tuple[Feature, ...] = (*BAR_FEATURES, *MARKET_FEATURES, *HIGHER_FEATURES)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
SCHEMA_HASH = schema_hash(FEATURES, SHARED)

#: What ``compute_features`` returns. ``open_time`` is the row's key, ``available_at`` (its close) the first moment at
#: which the row may be used; ``regime`` and ``stress`` are the numbers of ``regimes.Regime`` and ``regimes.Stress``.
ROW_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "open_time": UTC_MS,
    "available_at": UTC_MS,
    "eligible": pl.Boolean(),
    "regime": pl.Int8(),
    "stress": pl.Int8(),
    **dict.fromkeys(NAMES, pl.Float64()),
}

#: Days of own bars before a row's day that can change it, by timeframe: every warm-up fits.
LOOK_BACK: dict[Timeframe, int] = {Timeframe.M15: 9, Timeframe.H1: 11, Timeframe.H4: 42, Timeframe.D1: 21}
#: The same of the benchmark's bars (a week's correlation; SMA 200 of 4h), and of everyone's 15m bars (rank).
BENCHMARK_LOOK_BACK: dict[Timeframe, int] = {Timeframe.M15: 8, Timeframe.H4: 34}
MARKET_LOOK_BACK = 1

Bars = Mapping[Timeframe, pl.DataFrame]
_STEP = Timeframe.M15.delta
#: Rows that are computed together: enough to be quick, few enough to stay small.
_BLOCK_ROWS = 100_000


def compute_features(
    bars: Bars, start: datetime, end: datetime, *, benchmark: str | None, instruments: Sequence[str] | None = None
) -> pl.DataFrame:
    """Rows of ``instruments`` (default: all) whose open time lies in ``[start, end)``, in ROW_SCHEMA, sorted.

    ``bars`` maps 15m, 1h, 4h and 1d (those that are missing count as empty) to frames with ``instrument``,
    ``open_time`` (UTC) and prices, sorted by instrument and time. Every instrument with 15m bars takes part in rank and
    breadth; ``benchmark`` names the one that the market features refer to. Only bars that have closed may be given.
    """
    chosen = None if instruments is None else sorted(set(instruments))
    frames = [pl.DataFrame(schema=ROW_SCHEMA), *feature_frames(bars, start, end, benchmark, chosen)]
    return pl.concat(frames)


def feature_frames(
    bars: Bars, start: datetime, end: datetime, benchmark: str | None, instruments: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """As ``compute_features``, one instrument at a time: what is given out need not be kept.

    One frame for each of ``instruments`` in their order (default: all that have bars, sorted), empty without bars.
    """
    market = Market.of(bars, start, end, benchmark)
    known = market.fine if market is not None else {}
    chosen = sorted(known) if instruments is None else instruments
    computed: dict[str, pl.DataFrame] = {}
    blocks = _blocks(market, [name for name in chosen if name in known]) if market is not None else iter(())
    for instrument in chosen:
        if market is not None and instrument in known and instrument not in computed:
            rows = _rows(market, next(blocks), start, end).partition_by("instrument", as_dict=True)
            computed = {str(name): frame for (name,), frame in rows.items()}
        yield computed.get(instrument, pl.DataFrame(schema=ROW_SCHEMA))


@dataclass(frozen=True, slots=True)
class Market:
    """What the rows of all instruments share."""

    grid: Grid
    fine: dict[str, pl.DataFrame]
    wider: dict[Timeframe, tuple[Grid, dict[str, pl.DataFrame]]]
    crowd: CrossSection
    #: per row of the grid: the benchmark's returns and features, regime and stress
    common: pl.DataFrame

    @classmethod
    def of(cls, bars: Bars, start: datetime, end: datetime, benchmark: str | None) -> Market | None:
        """None where there is no 15m bar before ``end``."""
        fine = bars[Timeframe.M15].filter(pl.col("open_time") < end)
        if fine.is_empty():
            return None
        grid = Grid(Timeframe.M15, _first(fine), min(end, _last(fine) + _STEP))
        by_name = _split(fine)
        wider = {timeframe: _wider(bars.get(timeframe), timeframe, grid) for timeframe in HIGHER}
        closes = {name: _closes(grid, frame) for name, frame in by_name.items()}
        common = _common(grid, by_name.get(benchmark or ""), wider[Timeframe.H4], benchmark or "")
        return cls(grid, by_name, wider, cross_section(closes), common)


def _blocks(market: Market, instruments: Sequence[str]) -> Iterator[list[str]]:
    """Instruments to be computed together: for the newest rows all of them, for long history a few."""
    size = max(1, _BLOCK_ROWS // max(market.grid.rows, 1))
    for first in range(0, len(instruments), size):
        yield list(instruments[first : first + size])


def _rows(market: Market, instruments: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
    """All features of some instruments, one below the other."""
    grid, crowd, many = market.grid, market.crowd, len(instruments)
    frame = base(_stack(grid, market.fine, instruments), _by_instrument)
    frame = share(frame.hstack(pl.concat([market.common] * many)), _by_instrument)
    # Rows before the start were there to warm up: they are left behind as soon as everything is computed.
    skipped = int(np.searchsorted(grid.open_time.to_numpy(), np.datetime64(start.astimezone(UTC).replace(tzinfo=None))))
    kept = grid.rows - skipped
    own = [feature.expr.alias(feature.name) for feature in (*BAR_FEATURES, *RELATIVE) if feature.expr is not None]
    shared = ["open_time", "regime", "stress", *(feature.name for feature in BENCHMARK)]
    computed = [pl.col("there") == 1, ELIGIBLE.alias("eligible"), *(pl.col(name) for name in shared), *own]
    columns = _by_instrument(frame, [expr.tail(kept) for expr in computed])
    places = [np.tile(grid.closed_at(wider)[skipped:], many) for wider, _ in market.wider.values()]
    counts = [wider.rows for wider, _ in market.wider.values()]
    wide = [
        take(_wider_values(market, timeframe, instruments), _below(place, count, many))
        for timeframe, place, count in zip(market.wider, places, counts, strict=True)
    ]
    crowded = pl.DataFrame(
        {
            "breadth": np.tile(crowd.breadth[skipped:], many),
            "rank_lr_96": np.concatenate([crowd.rank[name][skipped:] for name in instruments]),
        }
    )
    # Whatever is not a number (a mean of infinities, say) is not known.
    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in NAMES]
    wanted = pl.col("there") & pl.col("open_time").is_between(start, end, closed="left")
    rows = pl.concat([columns, crowded, *wide], how="horizontal").filter(wanted)
    return rows.select(
        "instrument",
        "open_time",
        (pl.col("open_time") + _STEP).cast(UTC_MS).alias("available_at"),
        "eligible",
        "regime",
        "stress",
        *finite,
    )


def _by_instrument(frame: pl.DataFrame, exprs: Sequence[pl.Expr]) -> pl.DataFrame:
    """``exprs`` evaluated within every instrument of a sorted frame, with ``instrument`` in front.

    Planned once for all: for few rows each, planning would take longer than computing.
    """
    lists = frame.group_by("instrument", maintain_order=True).agg(exprs)
    return lists.explode([name for name in lists.columns if name != "instrument"], empty_as_null=False)


def _stack(grid: Grid, bars: Mapping[str, pl.DataFrame], instruments: Sequence[str]) -> pl.DataFrame:
    """Bars of some instruments on the grid, one below the other."""
    names = pl.Series("instrument", instruments, dtype=pl.String)
    laid = pl.concat([grid.lay(bars.get(name, _nothing())) for name in instruments])
    return laid.insert_column(0, names.gather(np.repeat(np.arange(len(instruments)), grid.rows)))


def _wider_values(market: Market, timeframe: Timeframe, instruments: Sequence[str]) -> pl.DataFrame:
    """Features of a wider timeframe on its own grid, one instrument below the other."""
    wider, by_name = market.wider[timeframe]
    return higher.values(_stack(wider, by_name, instruments), timeframe, _by_instrument).drop("instrument")


def _below(place: npt.NDArray[np.int64], rows: int, many: int) -> npt.NDArray[np.int64]:
    """Rows of one grid as rows of ``many`` grids one below the other; -1 stays."""
    first = np.repeat(np.arange(many) * rows, len(place) // max(many, 1))
    return np.where(place < 0, -1, place + first)


def _common(
    grid: Grid, bars: pl.DataFrame | None, wider: tuple[Grid, dict[str, pl.DataFrame]], benchmark: str
) -> pl.DataFrame:
    """The columns that come from the benchmark alone; nulls where there is none."""
    frame = base(_stack(grid, {benchmark: bars} if bars is not None else {}, [benchmark]), _by_instrument)
    slow, by_name = wider
    four = slow.lay(by_name.get(benchmark, _nothing())).select(regimes.trend_4h())
    frame = frame.hstack(take(four, grid.closed_at(slow)))
    return frame.select(
        pl.col("r").alias("benchmark_r"),
        lr(DAY).alias("benchmark_lr_96"),
        lr(WEEK).alias("benchmark_lr_672"),
        *(feature.expr.alias(feature.name) for feature in BENCHMARK if feature.expr is not None),
        regimes.regime(pl.col("trend_4h")),
        regimes.stress(),
    )


def _wider(bars: pl.DataFrame | None, timeframe: Timeframe, grid: Grid) -> tuple[Grid, dict[str, pl.DataFrame]]:
    """The bars of a wider timeframe that closed before the fine grid ends, by instrument, and their own grid."""
    start, end = grid.open_time[0], grid.open_time[-1] + _STEP
    if bars is None or bars.is_empty():
        return Grid(timeframe, start, start), {}
    bars = bars.filter(pl.col("open_time") <= end - timeframe.delta)
    if bars.is_empty():
        return Grid(timeframe, start, start), {}
    return Grid(timeframe, _first(bars), _last(bars) + timeframe.delta), _split(bars)


def _split(bars: pl.DataFrame) -> dict[str, pl.DataFrame]:
    parts = bars.partition_by("instrument", as_dict=True, maintain_order=True)
    return {str(name): frame for (name,), frame in parts.items()}


def _closes(grid: Grid, bars: pl.DataFrame) -> Floats:
    return grid.lay(bars, ["close"])["close"].fill_null(np.nan).to_numpy()


def _nothing() -> pl.DataFrame:
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64())
    return pl.DataFrame(schema={"open_time": UTC_MS, **columns})


def _first(bars: pl.DataFrame) -> datetime:
    moment = bars["open_time"].min()
    assert isinstance(moment, datetime)
    return moment


def _last(bars: pl.DataFrame) -> datetime:
    moment = bars["open_time"].max()
    assert isinstance(moment, datetime)
    return moment


#: A function of the form of ``compute_features``, as the checks take it.
Compute = Callable[[Bars, datetime, datetime], pl.DataFrame]
