"""What people see of forecasts: what was fitted, one with its bands, and how good matured ones were."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import polars as pl

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.horizons import RELEASE, ForecastHorizon
from crypto_pipeline.forecasts.stored.anchors import forecast_of
from crypto_pipeline.forecasts.stored.fit import WITHOUT_ETS
from crypto_pipeline.forecasts.stored.inputs import price_names
from crypto_pipeline.forecasts.stored.update import OLDEST_FIT, ForecastReport, newest_fits
from crypto_pipeline.market.instruments import refresh_class
from crypto_pipeline.ops.charts import forecasts as charts
from crypto_pipeline.store import Store

FORECAST_SCHEMA = metadata.table_schema(
    metadata.columns("""
    forecast_id    bigint         Its number; research.forecast_scores has the same.
    fit_id         bigint         The fit in research.forecast_fits that it was made from.
    instrument_id  integer        What it is about: market.instruments has its name.
    series_id      text           Of a macro series: market.macro_series has its name.
    horizon        text           1h, 1d, 1w or release.
    moment         timestamptz    Close of the newest bar that was used.
    expires        timestamptz    The last of its targets.
    made_at        timestamptz    When it was stored, by the database's clock.
    anchor         float8         Close of that bar, in the quote asset.
    model          text           naive, drift or ets.
    direction      text           UP, DOWN or HOLD of the last step; HOLD where the 80 % interval holds no change.
    targets        timestamptz[]  The closes that it is about, one per step.
    quantiles      real[]         Step after step five quantiles of the change of the log price from the anchor.
    naive          real[]         The same of the naive candidate; null where that was published.
    """),
    "(series, horizon, moment)",
)
SCORE_SCHEMA = metadata.table_schema(
    metadata.columns("""
    forecast_id    bigint       The forecast.
    scored_at      timestamptz  When it was scored, by the database's clock.
    seen           float8[]     Change of the log price from the anchor to each target; null where no bar came.
    pinball        float8[]     Mean pinball loss over the five quantiles of each step.
    naive_pinball  float8[]     The same of the naive candidate.
    inside_80      boolean[]    Whether the 80 % interval held what came.
    inside_95      boolean[]    Whether the 95 % interval held it.
    """),
    "forecast",
)
#: Closes that a chart shows before the forecast.
_BEFORE = {ForecastHorizon.HOURS: 96, ForecastHorizon.DAYS: 60, ForecastHorizon.WEEKS: 120}


def forecast_metadata(store: Store, report: ForecastReport, now: datetime) -> dict[str, Any]:
    """Figures of one materialization, and a chart of each horizon of the instrument that most people ask for."""
    fits = newest_fits(store, now)
    chosen = Counter((one.horizon, one.model) for one in fits)
    rows = [
        {
            "horizon": str(horizon),
            "fitted": report.fits.fitted.get(str(horizon), 0),
            "published": report.published.get(str(horizon), 0),
            **{model: chosen[str(horizon), model] for model in ("naive", "drift", "ets")},
        }
        for horizon in (*ForecastHorizon, RELEASE)
    ]
    shown: dict[str, Any] = {
        "dagster/row_count": sum(report.published.values()),
        "horizons": metadata.table(pl.DataFrame(rows)),
        "candidates": "naive, drift, ets" if ets.is_installed() else f"naive, drift; {WITHOUT_ETS}",
        "without_fit": len(report.fits.lacking),
    }
    if report.fits.lacking:
        lacking = pl.DataFrame(list(report.fits.lacking.items()), schema=["series", "because"], orient="row")
        shown["lacking"] = metadata.table(lacking)
    names = sorted({one.series for one in fits} & set(price_names(store)), key=lambda name: (refresh_class(name), name))
    hot = [name for name in names if refresh_class(name) == "hot"] or names
    return shown | (_charts(store, hot[0], now) if hot else {})


def _charts(store: Store, name: str, now: datetime) -> dict[str, Any]:
    found = {}
    for row in store.forecasts.newest([name], [str(each) for each in ForecastHorizon], now - OLDEST_FIT):
        horizon, one = ForecastHorizon.parse(row.horizon), forecast_of(row)
        count = _BEFORE[horizon]
        bars = store.reader.newest([name], horizon.timeframe, count, before=one.moment, complete=True)
        if bars.is_empty():
            continue
        times = [opened + horizon.timeframe.delta for opened in bars["open_time"].to_list()]
        title = f"{name} {horizon} · {one.direction} · {one.model} · {one.moment:%Y-%m-%d %H:%M}"
        drawn = charts.fan(times, bars["close"].to_list(), one.rows(), title)
        found[f"chart_{horizon}"] = metadata.picture(drawn, f"forecast {horizon}")
    return found


def score_metadata(store: Store, scored: int) -> dict[str, Any]:
    """What was scored now, and coverage and loss of all matured forecasts."""
    accuracy = store.forecasts.accuracy()
    shown: dict[str, Any] = {"scored": scored, "accuracy": metadata.table(accuracy)}
    if accuracy.is_empty():
        return shown | {"note": "no forecast has expired yet: nothing is known of their accuracy"}
    return shown | {"coverage": metadata.picture(charts.coverage(accuracy, "Held by the intervals"), "coverage")}
