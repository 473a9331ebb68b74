"""Macro series: names, ids of FRED, hours of publication, and the choice among them in the settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator

from crypto_pipeline.market.near_names import did_you_mean, near_names

#: FRED dates its vintages by the day in this zone.
FRED_ZONE = "America/Chicago"
_AGENCIES = "America/New_York"
_SERIES_ID = re.compile(r"[A-Z0-9_]{1,40}")
#: The word of a setting that stands for all named series.
ALL_NAMED = "default"


@dataclass(frozen=True, slots=True)
class MacroSeries:
    """A macro series. ``name`` is ours, ``series_id`` is FRED's.

    ``release_time``: the hour in ``release_zone`` at which its values are published on a day of the release calendar;
    None where that is not known, or where FRED has them later than the publisher. ``lag_days``: days from the end of a
    period to its first value, as a rule. ``zone``: where a day of a vintage begins and ends.
    """

    name: str
    series_id: str
    release_time: time | None = None
    release_zone: str = _AGENCIES
    lag_days: int | None = None
    zone: str = FRED_ZONE


#: The series that have a name of their own; any other is called by FRED's id.
NAMED = {
    one.name: one
    for one in (
        MacroSeries("GDP", "GDP", time(8, 30), lag_days=29),
        MacroSeries("CPI", "CPIAUCSL", time(8, 30), lag_days=13),
        MacroSeries("UNEMPLOYMENT", "UNRATE", time(8, 30), lag_days=6),
        MacroSeries("FED_RATE", "FEDFUNDS", time(16, 15), lag_days=1),
        # FRED has it a month after the University of Michigan: the hour says nothing.
        MacroSeries("CONSUMER_CONFIDENCE", "UMCSENT", lag_days=27),
    )
}
_BY_ID = {one.series_id: one for one in NAMED.values()}


def find_series(text: str) -> MacroSeries:
    """The series called ``text``, a name or an id of FRED, whatever its capitals. Raises ValueError for neither."""
    name = text.strip().upper()
    if name in NAMED:
        return NAMED[name]
    if not _SERIES_ID.fullmatch(name):
        hint = did_you_mean(near_names(text, NAMED))
        raise ValueError(
            f"{text!r} is no macro series: use {', '.join(NAMED)} or an id of FRED such as DGS10"
            + (f"; {hint}" if hint else "")
        )
    return _BY_ID.get(name) or MacroSeries(name, name)


def choose_series(text: str | None) -> list[MacroSeries]:
    """The series of a setting: names and ids, separated by commas; ``default`` stands for the named ones.

    None or an empty text: no series. Raises ValueError that names a bad one.
    """
    chosen: dict[str, MacroSeries] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        for one in NAMED.values() if part.lower() == ALL_NAMED else [find_series(part)]:
            chosen[one.series_id] = one
    return list(chosen.values())


def _checked(text: str) -> str:
    choose_series(text)
    return text


#: The text of a setting that ``choose_series`` takes.
SeriesChoice = Annotated[str, AfterValidator(_checked)]


def next_period(period: date, frequency: str) -> date:
    """First day of the period after the one that begins on ``period``.

    ``frequency`` as FRED writes it: D, W, BW, M, Q, SA, A. Raises ValueError for another.
    """
    days = {"D": 1, "W": 7, "BW": 14}
    months = {"M": 1, "Q": 3, "SA": 6, "A": 12}
    if frequency in days:
        return period + timedelta(days=days[frequency])
    if frequency not in months:
        raise ValueError(f"unknown frequency {frequency!r}: use one of {', '.join([*days, *months])}")
    month = period.year * 12 + period.month - 1 + months[frequency]
    return date(month // 12, month % 12 + 1, 1)


def guess_frequency(periods: Sequence[date]) -> str:
    """The frequency of a series whose periods are known, by their usual distance; empty for fewer than two."""
    gaps = sorted((after - before).days for before, after in pairwise(sorted(periods)))
    if not gaps:
        return ""
    usual = gaps[len(gaps) // 2]
    widths = {"D": 4, "W": 10, "BW": 20, "M": 45, "Q": 120, "SA": 250}
    return next((name for name, most in widths.items() if usual <= most), "A")
