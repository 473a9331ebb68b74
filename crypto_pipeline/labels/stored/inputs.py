"""What labels of a day are computed from, as data versions: which days are to be computed, and which again.

The labels of an instrument on a day rest on its 15m bars from ``look_back`` days before to ``look_ahead`` days after,
on its 1h bars, on the benchmark's bars, and on the minutes that were asked to decide. Only days that are over enter a
version: the running day changes all the time, and what ends in it is looked at when it is due.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Ints
from crypto_pipeline.labels.spacing import reach
from crypto_pipeline.labels.stored.signals import Signals
from crypto_pipeline.labels.strategies.base import DAY, TIMEFRAME, WARM_UP, WEEK, Parameters
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

_EPOCH = date(1970, 1, 1)


def look_back(parameters: Parameters) -> int:
    """Days of bars before a signal on which its label depends: of neighbours, their spacing and their indicators."""
    # Setups that are not spaced do not need the week: it keeps labels current that were stored when it was read.
    spacing = parameters.setup_spacing
    spaced = WEEK if spacing is None else reach(spacing)
    return math.ceil((parameters.horizon + 1 + spaced + WARM_UP) / DAY)


def look_ahead(parameters: Parameters) -> int:
    """Days of bars after the day of a signal on which its label depends."""
    return math.ceil((parameters.horizon + 1) / DAY)


def reach_of(parameters: Parameters) -> tuple[int, int]:
    """``look_back`` and ``look_ahead``: where they agree, labels rest on the same bars."""
    return look_back(parameters), look_ahead(parameters)


def input_versions(store: Store, signals: Signals, tiers: Mapping[str, str], benchmark: str | None) -> pl.DataFrame:
    """Per instrument of ``tiers`` and day of ``signals`` with bars: ``instrument``, ``day``, ``inputs``, ``kept``.

    ``inputs`` is a text that is another whenever anything below has changed; ``kept`` counts the days with bars in it.
    ``benchmark``: the instrument whose market some strategies look at; None where it is not collected.
    """
    first, strategy = _number(signals.start), signals.strategy
    names = list(tiers)
    parts, present = _window_versions(store, signals, names, benchmark)
    # Another benchmark, or none, is another market, whatever its data versions are.
    market_of = [benchmark or "none"] if strategy.definition.uses_benchmark else []
    rows = []
    for place, name in enumerate(names):
        for offset in np.flatnonzero(present[place]).tolist():
            texts = [f"{count[place, offset]}.{total[place, offset]}" for count, total in parts]
            kept = int(parts[0][0][place, offset])
            rows.append(
                (name, _EPOCH + timedelta(days=first + offset), "/".join([tiers[name], *texts, *market_of]), kept)
            )
    schema = {"instrument": pl.String, "day": pl.Date, "inputs": pl.String, "kept": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _window_versions(
    store: Store, signals: Signals, names: Sequence[str], benchmark: str | None
) -> tuple[list[list[Ints]], Flags]:
    """Days with bars and sums of data versions per instrument and day of ``signals``: of the own 15m bars, and of the
    1h and benchmark bars where the strategy looks at them. And whether there are bars, likewise.
    """
    strategy, today = signals.strategy, _number(signals.now)
    first, last = _number(signals.start), _number(signals.end - timedelta(microseconds=1))
    back, ahead = look_back(signals.parameters), look_ahead(signals.parameters)
    reached = min(last + ahead, today - 1)
    own = _Windows(store, TIMEFRAME, first - back, reached, names)
    parts = [own.windows(first, last, back, ahead)]
    if strategy.definition.uses_hours:
        hourly = _Windows(store, Timeframe.H1, first - back, min(last, today - 1), names)
        parts.append(hourly.windows(first, last, back, 0))
    if strategy.definition.uses_benchmark:
        market = _Windows(store, TIMEFRAME, first - back, reached, [benchmark] if benchmark else [])
        shape = parts[0][0].shape
        parts.append([np.broadcast_to(each.sum(axis=0), shape) for each in market.windows(first, last, back, ahead)])
    return parts, own.present(first, last)


class _Windows:
    """Data versions of one timeframe by instrument and day, summed over windows of days."""

    def __init__(self, store: Store, timeframe: Timeframe, first: int, last: int, names: Sequence[str]) -> None:
        self.first, width = first, max(0, last - first + 1)
        self.versions = np.zeros((len(names), width), np.int64)
        self.bars = np.zeros((len(names), width), np.int64)
        if not width or not names:
            return
        cells = store.coverage.cells([timeframe], _midnight(first), _midnight(last + 1), names)
        rows = cells["instrument"].replace_strict({name: i for i, name in enumerate(names)}, return_dtype=pl.Int64)
        columns = cells["day"].to_physical().to_numpy() - first
        self.versions[rows.to_numpy(), columns] = cells["data_version"].to_numpy()
        self.bars[rows.to_numpy(), columns] = cells["present"].to_numpy()

    def windows(self, first: int, last: int, back: int, ahead: int) -> list[Ints]:
        """For every day from ``first`` to ``last``: days with bars, and the sum of versions, from ``back`` before to
        ``ahead`` after.
        """
        days = np.arange(first, last + 1) - self.first
        width = self.versions.shape[1]
        begin, end = np.clip(days - back, 0, width), np.clip(days + ahead + 1, 0, width)
        summed = []
        for values in ((self.bars > 0).astype(np.int64), self.versions):
            running = np.concatenate((np.zeros((len(values), 1), np.int64), np.cumsum(values, axis=1)), axis=1)
            summed.append(running[:, end] - running[:, begin])
        return summed

    def present(self, first: int, last: int) -> Flags:
        """Whether there are bars, by instrument and day from ``first`` to ``last``."""
        width = self.bars.shape[1]
        shown = np.zeros((len(self.bars), max(0, last - first + 1)), np.bool_)
        begin = first - self.first
        have = max(0, min(width, last - self.first + 1) - begin)
        shown[:, :have] = self.bars[:, begin : begin + have] > 0
        return shown


def kept_days(store: Store, cells: pl.DataFrame, back: int, ahead: int) -> pl.Series:
    """For each of ``cells`` (``instrument``, ``day``): days with 15m bars from ``back`` before to ``ahead`` after."""
    names = cells["instrument"].unique().sort().to_list()
    days = cells["day"].to_physical().to_numpy()
    first, last = int(days.min()), int(days.max())
    counted = _Windows(store, TIMEFRAME, first - back, last + ahead, names).windows(first, last, back, ahead)[0]
    numbers = cells["instrument"].replace_strict({name: i for i, name in enumerate(names)}, return_dtype=pl.Int64)
    return pl.Series("kept", counted[numbers.to_numpy(), days - first])


def due(
    current: pl.DataFrame,
    stored: pl.DataFrame,
    minutes: Mapping[tuple[str, date], int],
    parameters: Parameters,
    now: datetime,
) -> pl.DataFrame:
    """The days to compute: ``instrument``, ``day``, ``inputs`` and ``reason`` (new, stale or waiting).

    New ones are those whose first label could be final by now. Where bars have been dropped since, nothing is due:
    what was computed while they were there stays.
    """
    if current.is_empty():
        return current.select("instrument", "day", "inputs", pl.lit("").alias("reason"))
    then = stored.select("instrument", "day", "waits_until", "minute_days", "minute_versions", before="inputs")
    joined = current.join(then, on=["instrument", "day"], how="left")
    moved = pl.Series(
        [
            _minutes_moved(name, days, text, minutes)
            for name, days, text in joined.select("instrument", "minute_days", "minute_versions").iter_rows()
        ],
        dtype=pl.Boolean,
    )
    first_end = pl.col("day").cast(pl.Datetime("ms", "UTC")) + TIMEFRAME.delta * (parameters.horizon + 1)
    kept_then = pl.col("before").str.split("/").list.get(1).str.split(".").list.get(0).cast(pl.Int64)
    reason = (
        pl.when(pl.col("before").is_null() & (first_end <= now))
        .then(pl.lit("new"))
        .when(((pl.col("inputs") != pl.col("before")) | moved) & (pl.col("kept") >= kept_then))
        .then(pl.lit("stale"))
        .when(pl.col("waits_until") <= now)
        .then(pl.lit("waiting"))
    )
    cells_due = joined.with_columns(reason.alias("reason")).filter(pl.col("reason").is_not_null())
    return cells_due.select("instrument", "day", "inputs", "reason")


def minute_versions(
    store: Store, start: datetime, end: datetime, instruments: Sequence[str]
) -> dict[tuple[str, date], int]:
    """Data versions of the 1m bars by instrument and day, where any are kept."""
    cells = store.coverage.cells([Timeframe.M1], start, end, instruments).filter(pl.col("present") > 0)
    return {(name, day): value for name, day, value in cells.select("instrument", "day", "data_version").iter_rows()}


def minutes_text(instrument: str, days: Sequence[date], versions: Mapping[tuple[str, date], int]) -> str:
    """The versions of the minutes of some days, to be compared later."""
    return ",".join(str(versions.get((instrument, day), 0)) for day in sorted(days))


def _minutes_moved(
    instrument: str, days: list[date] | None, text: str | None, versions: Mapping[tuple[str, date], int]
) -> bool:
    """Whether minutes that decided something, and are still kept, are others than then."""
    if not days or text is None:
        return False
    then = dict(zip(sorted(days), text.split(","), strict=True))
    return any(str(versions[instrument, day]) != then[day] for day in days if (instrument, day) in versions)


def _number(moment: datetime) -> int:
    return (moment.astimezone(UTC).date() - _EPOCH).days


def _midnight(number: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)
