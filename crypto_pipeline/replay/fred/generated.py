"""Generated macro series: first values weeks after a period, revisions, annual benchmark revisions, missing values."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from crypto_pipeline.replay.fred.catalogue import CATALOGUE, Shape
from crypto_pipeline.replay.fred.series import FredSeries, Publication, add_months, at_hour, weekday
from crypto_pipeline.replay.market.prices import stream

#: The first and last period of every generated series; daily ones begin later, as they are long.
_FIRST, _FIRST_DAILY, _LAST = date(2005, 1, 1), date(2024, 1, 1), date(2032, 1, 1)
#: Of so many periods one has no value.
_MISSING = 97
#: The first publication has everything until then.
_BACKFILLED = 24
_BENCHMARK_PERIODS = {"M": 60, "Q": 20}
_MONTHS = {"M": 1, "Q": 3}
#: Corrections between releases come in the afternoon.
_CORRECTED_AT = time(15, 40)


@lru_cache(maxsize=64)
def generated_series(series_id: str, seed: int) -> FredSeries | None:
    """The series with this id, the same for the same seed; None where there is none."""
    shape = CATALOGUE.get(series_id)
    if shape is None:
        return None
    return FredSeries(shape.facts, _daily(shape, seed) if shape.facts.frequency_short == "D" else _wide(shape, seed))


def _levels(shape: Shape, seed: int, count: int) -> list[float]:
    """The true value of each period, which the last revision states."""
    steps = stream(seed, "macro", shape.facts.series_id).normal(shape.growth, shape.spread, count)
    level, found = shape.start, []
    for step in steps:
        level = max(0.05, level + step - (level - shape.start) * 0.03) if shape.percent else level * (1 + step)
        found.append(float(level))
    return found


def _wide(shape: Shape, seed: int) -> list[Publication]:
    """Publications of a monthly or quarterly series."""
    months = _MONTHS[shape.facts.frequency_short]
    count = ((_LAST.year - _FIRST.year) * 12) // months
    periods = [add_months(_FIRST, place * months) for place in range(count)]
    levels = _levels(shape, seed, count)
    noise = stream(seed, "macro noise", shape.facts.series_id).normal(0, 1, (count, shape.revised + 2))
    draw = stream(seed, "macro days", shape.facts.series_id).integers(0, 4, count)
    events: dict[date, dict[date, str]] = defaultdict(dict)
    for place, period in enumerate(periods):
        # each value once with the release of its period, and again with the next releases
        first = max(place, _BACKFILLED)
        for turn in range(shape.revised + 1):
            if first + turn < count:
                error = float(noise[place, turn]) * shape.noise * (0 if first > place else (shape.revised + 1 - turn))
                day = _release_day(shape, periods[first + turn], int(draw[first + turn]))
                missing = (place + seed) % _MISSING == _MISSING - 1
                events[day][period] = "." if missing else _text(shape, levels[place], error)
    found = [Publication(at_hour(day, shape.facts.hour), values) for day, values in sorted(events.items())]
    return _on_days_of_their_own(found + _benchmarks(shape, seed, periods, levels))


def _benchmarks(shape: Shape, seed: int, periods: list[date], levels: list[float]) -> list[Publication]:
    """Each year in one month the last five years of values that are settled move a little, on a day of no release."""
    if not shape.benchmark:
        return []
    found = []
    width = _BENCHMARK_PERIODS[shape.facts.frequency_short]
    for year in range(_FIRST.year + 3, _LAST.year):
        day = weekday(date(year, shape.benchmark, 25))
        settled = [place for place, one in enumerate(periods) if (day - one).days > 200][-width:]
        shift = stream(seed, "macro benchmark", shape.facts.series_id, year).normal(0, 1, len(settled))
        values = {
            periods[place]: _text(shape, levels[place], float(change) * shape.noise * 0.7)
            for place, change in zip(settled, shift, strict=True)
            if (place + seed) % _MISSING != _MISSING - 1
        }
        found.append(Publication(at_hour(day, _CORRECTED_AT), values, calendar=False))
    return found


def _on_days_of_their_own(publications: list[Publication]) -> list[Publication]:
    """In order of time; a correction on the day of a release goes out with the release."""
    joined: list[Publication] = []
    for one in sorted(publications, key=lambda one: one.at):
        last = joined[-1] if joined else None
        if last is not None and last.day == one.day:
            joined[-1] = Publication(last.at, {**one.values, **last.values}, last.calendar or one.calendar)
        else:
            joined.append(one)
    return joined


def _daily(shape: Shape, seed: int) -> list[Publication]:
    """Publications of a daily series: the day after, on business days; holidays have no value."""
    days = [_FIRST_DAILY + timedelta(days=place) for place in range((_LAST - _FIRST_DAILY).days)]
    levels = _levels(shape, seed, len(days))
    every_day = shape.facts.series_id == "DFF"
    events: dict[date, dict[date, str]] = defaultdict(dict)
    for place, day in enumerate(days):
        if day.weekday() > 4 and not every_day:
            continue
        holiday = not every_day and (day.month, day.day) in {(1, 1), (7, 4), (12, 25), (6, 19), (11, 11)}
        shown = weekday(max(day, days[_BACKFILLED]) + timedelta(days=1 + shape.lag))
        events[shown][day] = "." if holiday else _text(shape, levels[place], 0.0)
    return [Publication(at_hour(day, shape.facts.hour), values) for day, values in sorted(events.items())]


def _release_day(shape: Shape, period: date, draw: int) -> date:
    over = add_months(period, _MONTHS[shape.facts.frequency_short])
    return weekday(over + timedelta(days=shape.lag + (draw if shape.lag > 2 else 0)))


def _text(shape: Shape, level: float, error: float) -> str:
    value = level + error if shape.percent else level * (1 + error)
    return f"{value:.{shape.digits}f}"


def newest_end(now: datetime) -> date:
    """Last day of planned releases that the calendar shows: half a year ahead."""
    return (now + timedelta(days=183)).date()
