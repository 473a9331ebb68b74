"""Forecasts for readers: the newest of a series, anchored to the last price, with its age."""

from __future__ import annotations

from crypto_pipeline.forecasts.answer import ForecastAnswer, ForecastRefusedError, answer
from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, Horizon
from crypto_pipeline.forecasts.stored.anchors import anchored
from crypto_pipeline.market.instruments import find_symbol
from crypto_pipeline.store import Store


def read_forecast(store: Store, symbol: str, horizon: str = "1h") -> ForecastAnswer:
    """The forecast of an instrument for 1h, 1d or 1w, anchored to its last price.

    Raises ValueError for an unknown horizon, UnknownInstrumentError for an unknown name, and ForecastRefusedError where
    there is none, or none that is young enough.
    """
    chosen = Horizon.parse(horizon)
    name = find_symbol(symbol, store.symbols.collected()) or symbol
    store.symbols.ids([name])
    found = anchored(store, [name], [chosen]).get((name, chosen))
    if found is None:
        raise ForecastRefusedError(
            f"there is no forecast of {name} for {chosen} yet: it is fitted at night, from at least "
            f"{LEAST_ORIGINS + chosen.reach + 1} bars of {chosen.timeframe}; `crypto-pipeline forecasts build` fits now"
        )
    return answer(found.forecast, found.as_of, store.clock.lately())
