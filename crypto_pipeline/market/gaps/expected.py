"""Expected bars: which bars of which instrument should be present by now.

A window is expected when it opens at or after the start of the kept history (floored to its grid), when it is over and
has settled, while the instrument is listed, and when its calendar is open.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.calendars import ALWAYS, get_calendar
from crypto_pipeline.market.timeframes import Timeframe, require_utc

_CELLS = ("instrument", "timeframe", "day", "expected")


def expected_cells(
    instruments: pl.DataFrame,
    timeframe: Timeframe | Iterable[Timeframe],
    history_start: datetime,
    now: datetime,
    settle_delay: timedelta | float = 0.0,
) -> pl.DataFrame:
    """Coverage cells ``[instrument, timeframe, day, expected]`` in which at least one bar is expected.

    ``instruments`` has ``instrument`` and, where known, ``listed``, ``delisted`` (aware, null: not known) and
    ``calendar`` (null or absent: 24/7). ``day`` is the UTC day, of weekly bars the Monday. ``settle_delay`` is a
    timedelta or seconds.
    """
    bounds = expected_bounds(instruments, timeframe, history_start, now, settle_delay)
    if "calendar" in instruments.columns:  # then a cell may have several rows
        return bounds.group_by("instrument", "timeframe", "day", maintain_order=True).agg(pl.col("expected").sum())
    return bounds.select(_CELLS)


def expected_bounds(
    instruments: pl.DataFrame,
    timeframe: Timeframe | Iterable[Timeframe],
    history_start: datetime,
    now: datetime,
    settle_delay: timedelta | float = 0.0,
) -> pl.DataFrame:
    """As ``expected_cells``, with the span ``[start, end)`` in which each cell's bars open.

    An instrument that follows a session calendar may have several rows in one cell.
    """
    timeframes = [timeframe] if isinstance(timeframe, Timeframe) else list(timeframe)
    settle = settle_delay if isinstance(settle_delay, timedelta) else timedelta(seconds=settle_delay)
    known = _known(instruments)
    parts = []
    for one in timeframes:
        first, until = one.floor(history_start), one.floor(require_utc(now) - settle)
        limits = _limits(known, one, first, until)
        parts.append(_always_open(limits.filter(pl.col("calendar") == ALWAYS.name), one, first, until))
        parts.extend(_sessions(row, one) for row in limits.filter(pl.col("calendar") != ALWAYS.name).to_dicts())
    return pl.concat(parts) if parts else _cut(_no_cells(), Timeframe.M1)


def _no_cells() -> pl.DataFrame:
    """An empty frame of cells before they are cut to their bounds."""
    return pl.DataFrame(
        schema={
            "instrument": pl.String(),
            "day": pl.Date(),
            "lower": UTC_MS,
            "upper": UTC_MS,
            "start": UTC_MS,
            "end": UTC_MS,
        }
    )


def _known(instruments: pl.DataFrame) -> pl.DataFrame:
    """The four columns; those that are absent are filled."""
    given = instruments.columns
    if "instrument" not in given:
        raise ValueError(f"instruments lack the column instrument: there are {', '.join(given)}")
    times = [
        (pl.col(name) if name in given else pl.lit(None)).cast(UTC_MS).alias(name) for name in ("listed", "delisted")
    ]
    calendar = (pl.col("calendar") if "calendar" in given else pl.lit(None, pl.String)).fill_null(ALWAYS.name)
    return instruments.select(pl.col("instrument").cast(pl.String), *times, calendar.alias("calendar"))


def _limits(known: pl.DataFrame, timeframe: Timeframe, first: datetime, until: datetime) -> pl.DataFrame:
    """Per instrument the first expected open time and the end of the expected ones."""
    width = timeframe.delta
    listed = timeframe.floor_expr("listed")
    over = timeframe.floor_expr("delisted")
    over = pl.when(over < pl.col("delisted")).then(over + width).otherwise(over)
    return known.select(
        "instrument",
        "calendar",
        pl.max_horizontal(pl.lit(first, UTC_MS), listed).alias("lower"),
        pl.min_horizontal(pl.lit(until, UTC_MS), over).alias("upper"),
    )


def _always_open(limits: pl.DataFrame, timeframe: Timeframe, first: datetime, until: datetime) -> pl.DataFrame:
    begin = (Timeframe.W1 if timeframe is Timeframe.W1 else Timeframe.D1).floor(first)
    every = f"{timeframe.cell_days}d"
    days = pl.datetime_range(begin, until, every, closed="left", time_zone="UTC", time_unit="ms", eager=True)
    cells = limits.join(days.alias("start").to_frame(), how="cross")
    return _cut(cells.with_columns(end=pl.col("start") + pl.duration(days=timeframe.cell_days)), timeframe)


def _sessions(row: dict[str, object], timeframe: Timeframe) -> pl.DataFrame:
    """The cells of one instrument that follows an exchange's sessions."""
    lower, upper = row["lower"], row["upper"]
    assert isinstance(lower, datetime)
    assert isinstance(upper, datetime)
    spans = get_calendar(str(row["calendar"])).spans(timeframe, lower, upper) if lower < upper else []
    frame = pl.DataFrame(spans, schema={"start": UTC_MS, "end": UTC_MS}, orient="row")
    frame = frame.with_columns(
        pl.lit(row["instrument"], pl.String).alias("instrument"),
        pl.lit(lower, UTC_MS).alias("lower"),
        pl.lit(upper, UTC_MS).alias("upper"),
    )
    # A session may run over midnight (futures do): one piece per day that it touches.
    day = pl.col("start").dt.truncate(f"{timeframe.cell_days}d" if timeframe is not Timeframe.W1 else "1w")
    last = (pl.col("end") - pl.duration(milliseconds=1)).dt.truncate("1d")
    cells = frame.with_columns(cell=pl.datetime_ranges(day, last, "7d" if timeframe is Timeframe.W1 else "1d"))
    cells = cells.explode("cell", empty_as_null=False).with_columns(
        start=pl.max_horizontal("start", "cell"),
        end=pl.min_horizontal("end", pl.col("cell") + pl.duration(days=timeframe.cell_days)),
    )
    return _cut(cells, timeframe)


def _cut(cells: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Cells cut to the instrument's limits; those with nothing expected dropped."""
    day = pl.col("start").dt.truncate("1w" if timeframe is Timeframe.W1 else "1d").dt.date()
    width = (pl.col("end") - pl.col("start")).dt.total_milliseconds() // timeframe.milliseconds
    return (
        cells.lazy()
        .select("instrument", day.alias("day"), pl.max_horizontal("start", "lower"), pl.min_horizontal("end", "upper"))
        .filter(pl.col("start") < pl.col("end"))
        .select(
            "instrument",
            pl.lit(str(timeframe)).alias("timeframe"),
            "day",
            "start",
            "end",
            width.cast(pl.Int32).alias("expected"),
        )
        .collect()
    )
