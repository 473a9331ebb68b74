"""Which observations were known at a moment: the newest value of each period, its first one, or every one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import polars as pl

Prints = Literal["latest", "first", "all"]
#: Which values of a period are read.
PRINTS: tuple[Prints, ...] = get_args(Prints)

#: Columns for readers. ``period`` is its first day; days of vintages are those of its zone (America/Chicago).
OBSERVATION_SCHEMA: dict[str, pl.DataType] = {
    "series": pl.String(),
    "period": pl.Date(),
    "value": pl.Float64(),
    "vintage_start": pl.Date(),
    "vintage_end": pl.Date(),
    "available_at": pl.Datetime("us", "UTC"),
    "basis": pl.String(),
}


def parse_prints(text: str) -> Prints:
    """The choice called ``text``. Raises ValueError that names the choices."""
    for each in PRINTS:
        if text == each:
            return each
    raise ValueError(f"unknown prints {text!r}: use one of {', '.join(PRINTS)}")


def known_at(observations: pl.DataFrame, as_of: datetime, zone: str) -> pl.DataFrame:
    """The observations that were public by ``as_of``, without values and ends of vintages that became known later.

    ``observations`` of one series in OBSERVATION_SCHEMA, every vintage of every period. The end of a vintage is known
    once the next value is, or once the first day without it is over in ``zone``.
    """
    known = observations.filter(pl.col("available_at") <= as_of).sort("period", "vintage_start")
    followed = pl.col("period").shift(-1) == pl.col("period")
    # the last day whose day after is over: both are days in the zone
    over = as_of.astimezone(ZoneInfo(zone)).date() - timedelta(days=2)
    ended = followed.fill_null(value=False) | (pl.col("vintage_end") <= over)
    return known.with_columns(pl.when(ended).then("vintage_end"))


def select_prints(observations: pl.DataFrame, prints: Prints) -> pl.DataFrame:
    """Of each period the newest value that is still stated, the first one, or all; by period and vintage.

    ``observations`` of one series in OBSERVATION_SCHEMA.
    """
    ordered = observations.sort("period", "vintage_start")
    if prints == "latest":
        return ordered.unique("period", keep="last", maintain_order=True).filter(pl.col("vintage_end").is_null())
    return ordered.unique("period", keep="first", maintain_order=True) if prints == "first" else ordered
