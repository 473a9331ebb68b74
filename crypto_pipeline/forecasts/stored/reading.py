"""Forecasts for readers: the newest of a series, anchored to the last price, with its age."""

from __future__ import annotations

from crypto_pipeline.forecasts.answer import ForecastAnswer, NoForecastError, answer
from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, ForecastHorizon
from crypto_pipeline.forecasts.stored.anchors import Anchored, anchored
from crypto_pipeline.market.instruments import find_symbol
from crypto_pipeline.store import Store


def read_forecast(store: Store, symbol: str, horizon: str = "1h") -> ForecastAnswer:
    """The forecast of an instrument for 1h, 1d or 1w, anchored to its last price.

    Raises ValueError for an unknown horizon, UnknownInstrumentError for an unknown name, NoForecastError where there is
    none, and ForecastRefusedError where there is none that is young enough.
    """
    found = read_anchored(store, known_name(store, symbol), ForecastHorizon.parse(horizon))
    return answer(found.forecast, found.as_of, store.clock.lately())


def known_name(store: Store, symbol: str) -> str:
    """The name of a collected instrument as it is written. Raises UnknownInstrumentError that suggests the nearest."""
    name = find_symbol(symbol, store.symbols.collected()) or symbol
    store.symbols.ids([name])
    return name


def read_anchored(store: Store, name: str, horizon: ForecastHorizon) -> Anchored:
    """The newest forecast of an instrument. Raises NoForecastError where there is none."""
    found = anchored(store, [name], [horizon]).get((name, horizon))
    if found is None:
        raise NoForecastError(
            f"there is no forecast of {name} for {horizon} yet: it is fitted at night, from at least "
            f"{LEAST_ORIGINS + horizon.reach} bars of {horizon.timeframe}; `crypto-pipeline forecasts build` fits "
            "now"
        )
    return found
