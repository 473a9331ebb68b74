"""Forecasts for readers: the newest of a series, anchored to the last price, with its age."""

from __future__ import annotations

from datetime import UTC, datetime

from crypto_pipeline.forecasts.answer import ForecastAnswer, NoForecastError, answer
from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, RELEASE, ForecastHorizon
from crypto_pipeline.forecasts.stored.anchors import Anchored, anchored
from crypto_pipeline.forecasts.stored.releases import release_forecast
from crypto_pipeline.market.instruments import find_symbol
from crypto_pipeline.store import Store


def read_forecast(store: Store, symbol: str, horizon: str = "1h") -> ForecastAnswer:
    """The forecast of an instrument for 1h, 1d or 1w, anchored to its last price; of a macro series its next release.

    Raises ValueError for an unknown horizon, UnknownInstrumentError for an unknown name, NoForecastError where there is
    none, and ForecastRefusedError where there is none that is young enough.
    """
    found = read_anchored(store, *asked_for(store, symbol, horizon))
    return answer(found.forecast, found.as_of, store.clock.lately())


def asked_for(store: Store, symbol: str, horizon: str) -> tuple[str, str]:
    """The name as it is written and the horizon of a question: for a macro series always its next release.

    Raises ValueError for an unknown horizon, UnknownInstrumentError for an unknown name, which suggests the nearest.
    """
    if horizon != str(RELEASE):
        ForecastHorizon.parse(horizon)
    name = find_symbol(symbol, store.symbols.collected())
    if name is None:
        for row in store.macro_reads.series():
            if symbol.strip().upper() in (row.name, row.series_id):
                return row.name, str(RELEASE)
    if horizon == str(RELEASE):
        raise ValueError(f"{symbol} is no macro series: for an instrument use one of {', '.join(ForecastHorizon)}")
    store.symbols.ids([name or symbol])
    return name or symbol, horizon


def read_anchored(store: Store, name: str, horizon: str) -> Anchored:
    """The newest forecast of an instrument or macro series. Raises NoForecastError where there is none."""
    if horizon == str(RELEASE):
        rows = store.forecasts.newest([name], [horizon], datetime.min.replace(tzinfo=UTC))
        if rows:
            return Anchored(*release_forecast(rows[0], store.clock.lately()))
        needed = f"{LEAST_ORIGINS + 1} values and a known day of the next release"
    else:
        chosen = ForecastHorizon.parse(horizon)
        found = anchored(store, [name], [chosen]).get((name, chosen))
        if found is not None:
            return found
        needed = f"{LEAST_ORIGINS + chosen.reach} bars of {chosen.timeframe}"
    raise NoForecastError(
        f"there is no forecast of {name} for {horizon} yet: it is fitted at night, from at least {needed}; "
        "`crypto-pipeline forecasts build` fits now"
    )
