"""Recorded macro series: FRED's plain CSV files, each value published once, after the lag that its series has."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.fred.catalogue import CATALOGUE
from crypto_pipeline.replay.fred.series import Facts, FredSeries, Publication, add_months, at_hour, weekday

_MONTHS = {"M": 1, "Q": 3}


@lru_cache(maxsize=64)
def recorded_series(folder: Path, series_id: str) -> FredSeries | None:
    """The series in ``<folder>/<series_id>.csv``; None without such a file. Raises ReplayError for a bad one."""
    path = folder / f"{series_id}.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    try:
        values = {date.fromisoformat(period): value.strip() or "." for period, value in rows[1:]}
    except ValueError as error:
        raise ReplayError(f"{path} is no CSV file of FRED: {error}") from None
    shape = CATALOGUE.get(series_id)
    facts = shape.facts if shape is not None else _guessed(series_id, sorted(values))
    lag = shape.lag if shape is not None else 14
    events: dict[date, dict[date, str]] = defaultdict(dict)
    for period, value in values.items():
        months = _MONTHS.get(facts.frequency_short)
        over = add_months(period, months) if months else period + timedelta(days=1)
        events[weekday(over + timedelta(days=lag))][period] = value
    return FredSeries(facts, [Publication(at_hour(day, facts.hour), found) for day, found in sorted(events.items())])


def macro_folder(folder: Path) -> Path:
    """``macro/fred`` in ``folder``, or ``folder`` itself: where FRED has CSV files. Raises ReplayError without any."""
    for below in ("macro/fred", ""):
        if any(_is_of_fred(path) for path in sorted((folder / below).glob("*.csv"))):
            return folder / below
    raise ReplayError(f"no recorded macro series in {folder}: name a folder with CSV files of FRED, such as UNRATE.csv")


def _is_of_fred(path: Path) -> bool:
    """Whether the header of a CSV file has a date and the id by which the file is called."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().strip().split(",")[1:] == [path.stem]


def _guessed(series_id: str, periods: list[date]) -> Facts:
    """Facts of a series that is only known by its file: its frequency by the distance of its periods."""
    days = (periods[-1] - periods[0]).days / max(1, len(periods) - 1) if periods else 30
    like = CATALOGUE["DFF" if days < 4 else "UMCSENT" if days < 60 else "GDP"].facts
    return replace(like, series_id=series_id, title=series_id, units="Units", units_short="Units")
