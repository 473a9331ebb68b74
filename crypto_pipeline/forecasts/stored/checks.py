"""Whether forecasts are there, as new as they should be, and as good as they say: by scores of matured ones alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, ForecastHorizon
from crypto_pipeline.forecasts.scoring import block_interval
from crypto_pipeline.forecasts.stored.inputs import closed, price_names
from crypto_pipeline.forecasts.stored.update import newest_fits
from crypto_pipeline.market.calendars import ALWAYS, get_calendar
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.store import Store

CHECKS = {
    "forecasts_complete": "Every instrument with enough bars is fitted for every horizon.",
    "forecasts_fresh": "The newest forecast of every fitted series is that of its newest closes.",
}
SCORE_CHECKS = {
    "forecast_coverage": "The 80 % and 95 % intervals of matured forecasts held as many targets as they promise.",
    "forecast_skill": "Matured forecasts were not surely worse than naive ones.",
}
#: Coverage that is as promised.
BOUNDS = {"coverage_80": (0.77, 0.83), "coverage_95": (0.93, 0.97)}
#: Days of scores that are judged, and independent stretches of time below which nothing is.
_JUDGED, _LEAST_BLOCKS = timedelta(days=365), 10
#: Closes by which a forecast may be late.
_LATE = 3


def check_forecasts(store: Store, now: datetime) -> list[CheckOutcome]:
    """The checks of CHECKS."""
    return [_complete(store, now), _fresh(store, now)]


def check_scores(store: Store, now: datetime) -> list[CheckOutcome]:
    """The checks of SCORE_CHECKS, by block bootstrap over the moments of publication."""
    scores = store.forecasts.scores_by_moment(now - _JUDGED)
    return [_coverage(scores), _skill(scores)]


def _complete(store: Store, now: datetime) -> CheckOutcome:
    fitted = {(one.series, one.horizon) for one in newest_fits(store, now)}
    names, offenders = price_names(store), []
    for horizon in ForecastHorizon:
        needed = LEAST_ORIGINS + horizon.reach
        if not names:
            break
        spans = store.reader.span(names, horizon.timeframe)
        for name, rows in spans.select("instrument", "rows").iter_rows():
            # holes leave fewer origins than bars
            if rows >= 2 * needed and (name, str(horizon)) not in fitted:
                offenders.append({"instrument": name, "horizon": str(horizon), "bars": rows})
    summary = f"{len(fitted)} fits of {len({name for name, _ in fitted})} series"
    if offenders:
        summary = f"{len(offenders)} series have enough bars and no fit, first {offenders[0]['instrument']}"
    return _outcome("forecasts_complete", not offenders, "error", summary, offenders)


def _fresh(store: Store, now: datetime) -> CheckOutcome:
    fits, offenders = newest_fits(store, now), []
    names = sorted({one.series for one in fits})
    calendars = store.symbols.calendars(names)
    rows = store.forecasts.newest(names, [str(each) for each in ForecastHorizon], now - timedelta(days=30))
    moments = {(one.series, one.horizon): one.moment for one in rows}
    for one in fits:
        horizon = ForecastHorizon.parse(one.horizon)
        if calendars.get(one.series, ALWAYS.name) != ALWAYS.name:
            due = _newest_session_close(calendars[one.series], horizon, now)
        else:
            due = closed(horizon, now)
        moment = moments.get((one.series, one.horizon))
        if moment is None or due - moment > _LATE * horizon.timeframe.delta:
            offenders.append({"instrument": one.series, "horizon": one.horizon, "newest": moment, "due": due})
    summary = f"{len(fits)} series have the forecast of their newest closes"
    if offenders:
        summary = f"{len(offenders)} of {len(fits)} series have no forecast of their newest {_LATE} closes"
    return _outcome("forecasts_fresh", not offenders, "warning", summary, offenders)


def _newest_session_close(calendar: str, horizon: ForecastHorizon, now: datetime) -> datetime:
    spans = get_calendar(calendar).spans(horizon.timeframe, now - timedelta(days=14), now - horizon.timeframe.delta)
    return spans[-1][1] if spans else now - timedelta(days=14)


def judged(scores: pl.DataFrame) -> pl.DataFrame:
    """Mean and 95 % interval of coverage and of the loss relative to naive, by horizon; ``blocks`` are independent."""
    rows: list[dict[str, Any]] = []
    for horizon in ForecastHorizon:
        of = scores.filter(pl.col("horizon") == str(horizon))
        if of.is_empty():
            continue
        row: dict[str, Any] = {"horizon": str(horizon), "moments": of.height, "blocks": of.height // horizon.reach}
        gained = (of["naive_pinball"] - of["pinball"]).to_numpy()
        for name, values in (*((each, of[each].to_numpy()) for each in BOUNDS), ("gain", gained)):
            low, high = block_interval(values, horizon.reach)
            row |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
        row["naive_pinball"] = of["naive_pinball"].mean()
        rows.append(row)
    return pl.DataFrame(rows)


def _coverage(scores: pl.DataFrame) -> CheckOutcome:
    found, offenders = judged(scores), []
    if found.is_empty() or not (enough := found.filter(pl.col("blocks") >= _LEAST_BLOCKS)).height:
        return _outcome("forecast_coverage", True, "warning", f"too few scores to judge: {scores.height} moments", [])
    for row in enough.iter_rows(named=True):
        for name, (low, high) in BOUNDS.items():
            if row[f"{name}_high"] < low or row[f"{name}_low"] > high:
                offenders.append({"horizon": row["horizon"], "interval": name, "covered": row[name]})
    said = "; ".join(
        f"{row['horizon']}: {100 * row['coverage_80']:.1f} % and {100 * row['coverage_95']:.1f} %"
        for row in enough.iter_rows(named=True)
    )
    return _outcome(
        "forecast_coverage", not offenders, "warning", f"held by the 80 % and 95 % intervals: {said}", offenders
    )


def _skill(scores: pl.DataFrame) -> CheckOutcome:
    found = judged(scores)
    if found.is_empty() or not (enough := found.filter(pl.col("blocks") >= _LEAST_BLOCKS)).height:
        return _outcome("forecast_skill", True, "warning", f"too few scores to judge: {scores.height} moments", [])
    worse = enough.filter(pl.col("gain_high") < 0)
    offenders = worse.select("horizon", "gain", "naive_pinball").to_dicts()
    said = "; ".join(
        f"{row['horizon']}: {100 * row['gain'] / row['naive_pinball']:+.2f} %" for row in enough.iter_rows(named=True)
    )
    return _outcome("forecast_skill", not offenders, "warning", f"loss saved against naive: {said}", offenders)


def _outcome(name: str, passed: bool, severity: Any, summary: str, offenders: list[dict[str, Any]]) -> CheckOutcome:
    return CheckOutcome(name, "forecasts", passed, severity, summary, pl.DataFrame(offenders))
