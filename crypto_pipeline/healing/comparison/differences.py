"""A venue's answers compared with stored bars: which bars differ, and how many were compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA, empty_bars
from crypto_pipeline.market.reconciliation import compare_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import BarsAnswer


@dataclass(slots=True)
class Answered:
    """The venue's answers to one comparison, and how they differ from what is stored."""

    spans: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    compared: int = 0
    _differing: list[pl.DataFrame] = field(default_factory=list)
    _stated: list[pl.DataFrame] = field(default_factory=list)
    _held: list[pl.DataFrame] = field(default_factory=list)

    def add(self, answer: BarsAnswer, held: pl.DataFrame, found: pl.DataFrame) -> None:
        """Add one answer, the stored bars that could be compared with it, and those that differ."""
        self.spans.append((answer.instrument, answer.start, answer.end))
        times = held.select("instrument", "open_time").join(
            answer.bars.select("open_time", pl.lit(value=True).alias("compared")), on="open_time", how="left"
        )
        self.compared += times["compared"].count()
        self._held.append(times)
        if found.height:
            self._differing.append(found.select(no_differences().columns))
            self._stated.append(answer.bars.join(found, on="open_time", how="semi"))

    @property
    def differing(self) -> pl.DataFrame:
        """Every disagreement."""
        return pl.concat(self._differing) if self._differing else no_differences()

    @property
    def stated(self) -> pl.DataFrame:
        """The venue's bars of the windows that differ."""
        return pl.concat([empty_bars(), *self._stated])

    def by_day(self, timeframe: Timeframe) -> pl.DataFrame:
        """``instrument``, ``day``, ``stored`` and ``compared`` bars."""
        nothing = pl.DataFrame(
            schema={"instrument": pl.String(), "open_time": BAR_SCHEMA["open_time"], "compared": pl.Boolean()}
        )
        times = pl.concat([nothing, *self._held])
        return times.group_by("instrument", cell_day(timeframe)).agg(
            pl.len().alias("stored"), pl.col("compared").count().alias("compared")
        )


def within(cells: pl.DataFrame, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
    """The coverage cells that lie whole in ``[start, end)``."""
    last = end.date() - timedelta(days=timeframe.cell_days)
    first = start.date() if start.time() == time(0) else start.date() + timedelta(days=1)
    return cells.filter(pl.col("day").is_between(first, last))


def cell_day(timeframe: Timeframe) -> pl.Expr:
    """The coverage day of ``open_time``, called ``day``."""
    every = "1w" if timeframe is Timeframe.W1 else "1d"
    return pl.col("open_time").dt.truncate(every).dt.date().alias("day")


def differing(instrument: str, held: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """The bars on which ours and the venue's differ; windows without a stored bar are left out, as they are gaps."""
    comparable = theirs.join(held, on="open_time", how="semi")
    return compare_bars(held.select(*BAR_SCHEMA), comparable).with_columns(pl.lit(instrument).alias("instrument"))


def no_differences() -> pl.DataFrame:
    """A frame of disagreements with no row."""
    values = pl.Struct({name: pl.Float64() for name in ("open", "high", "low", "close", "volume")})
    return pl.DataFrame(
        schema={
            "instrument": pl.String(),
            "open_time": BAR_SCHEMA["open_time"],
            "kind": pl.String(),
            "columns": pl.List(pl.String()),
            "ours": values,
            "theirs": values,
        }
    )
