"""The answer to a question for a forecast: what was published, anchored to the last price, with its age."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.forecasts.conformal import QUANTILES
from crypto_pipeline.forecasts.horizons import PRICE_TIME_TO_LIVE, STALE_TIMES, TIME_TO_LIVE
from crypto_pipeline.forecasts.publication import direction
from crypto_pipeline.forecasts.timeline import Floats
from crypto_pipeline.market.instruments import refresh_class
from crypto_pipeline.reading.display.tabular import Tabular
from crypto_pipeline.store.database.errors import StoreError, UnknownNameError

#: Columns of a forecast's prices, in the order of QUANTILES.
PRICE_NAMES = ("low_95", "low_80", "median", "high_80", "high_95")
_STEPS = {
    "step": pl.Int32(), "target": pl.Datetime("ms", "UTC"), "direction": pl.String(),
    **dict.fromkeys(PRICE_NAMES, pl.Float64()),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast anchored to a price.

    Attributes:
        series: The instrument or macro series.
        horizon: Class of horizons: 1h, 1d, 1w or release.
        moment: Close of the newest bar that it rests on, UTC.
        model: naive, drift or ets.
        why: Why this candidate was chosen.
        price: What the changes are relative to: the last price, in the quote asset.
        anchored_at: When that was the price, UTC.
        targets: The closes that it is about, UTC.
        changes: Quantiles of the change of the log price until each target, (steps, quantiles).
        asset_class: crypto, stock or macro.
        in_percent: Changes are those of the value itself, in percentage points (some macro series).
    """

    series: str
    horizon: str
    moment: datetime
    model: str
    why: str
    price: float
    anchored_at: datetime
    targets: tuple[datetime, ...]
    changes: Floats
    asset_class: str = "crypto"
    in_percent: bool = False

    @property
    def direction(self) -> str:
        """UP, DOWN or HOLD until the last target: HOLD where the 80 % interval holds no change."""
        return direction(self.changes[-1])

    def prices(self) -> Floats:
        """The quantiles as prices, (steps, quantiles)."""
        found: Floats = self.price + self.changes if self.in_percent else self.price * np.exp(self.changes)
        return found

    def anchored(self, price: float, at: datetime) -> Forecast:
        """This forecast with the same changes from another price."""
        return replace(self, price=price, anchored_at=at)

    def rows(self) -> list[dict[str, Any]]:
        """One row per step: ``step``, ``target``, ``direction`` and the prices of PRICE_NAMES."""
        found = []
        for number, (target, changes, prices) in enumerate(zip(self.targets, self.changes, self.prices(), strict=True)):
            values = dict(zip(PRICE_NAMES, prices.tolist(), strict=True))
            found.append({"step": number + 1, "target": target, "direction": direction(changes), **values})
        return found


@dataclass(frozen=True, slots=True, repr=False)
class ForecastAnswer(Tabular):
    """A forecast and how old it is. As a frame (``to_polars()``, ``to_pandas()``, ``to_arrow()``) its steps: ``step``,
    ``target`` (UTC), ``direction``, and the prices of PRICE_NAMES in the quote asset.

    Attributes:
        forecast: What is forecast.
        as_of: When its price was last known to be current, by the market's clock, UTC.
        age_s: Seconds since then.
        stale: Older than the time to live of its class: HOT 120, NORMAL 300, COLD 600 s.
    """

    forecast: Forecast
    as_of: datetime
    age_s: float
    stale: bool

    def to_polars(self) -> pl.DataFrame:
        """One row per step of the forecast."""
        return pl.DataFrame(self.forecast.rows(), schema=_STEPS)

    def headline(self) -> str:
        """What is forecast, by which model, and how old the price is that it starts from."""
        one, stale = self.forecast, ", stale" if self.stale else ""
        return (
            f"Forecast of {one.series}, horizon {one.horizon}: {one.direction} from {one.price:g}, by {one.model}, "
            f"as of {self.as_of:%Y-%m-%d %H:%M:%S}Z, {self.age_s:.0f} s old{stale}"
        )

    def document(self) -> dict[str, Any]:
        """The answer as JSON-ready values."""
        one = self.forecast
        return {
            "symbol": one.series, "horizon": one.horizon, "as_of": self.as_of, "age_s": round(self.age_s, 3),
            "stale": self.stale, "moment": one.moment, "model": one.model, "why": one.why, "price": one.price,
            "anchored_at": one.anchored_at, "direction": one.direction, "quantiles": list(QUANTILES),
            "steps": one.rows(),
        }  # fmt: skip


class NoForecastError(UnknownNameError):
    """There is no forecast of a series yet; the message names it and says what would give one."""


class ForecastRefusedError(StoreError):
    """The newest forecast of a series is too old; the message names it and says how old it is."""


def lifetime(series: str) -> tuple[float, float]:
    """Seconds until an answer about ``series`` is stale, and until it is refused."""
    ttl = TIME_TO_LIVE[refresh_class(series)]
    return ttl, ttl * STALE_TIMES


def current_at(forecast: Forecast, now: datetime, open_since: datetime, due: datetime) -> datetime:
    """Since when what ``forecast`` says is no longer known to be current; ``now`` where it is.

    ``open_since``: the moment from which time counts while the market was closed in between (``now`` where nothing has
    traded since the price); ``due``: the close at which the next forecast is to be published.
    """
    fresh = (now - open_since).total_seconds() <= PRICE_TIME_TO_LIVE[forecast.asset_class]
    priced = now if fresh else open_since
    return min(priced, max(due, forecast.moment)) if now > due else priced


def answer(forecast: Forecast, as_of: datetime, now: datetime) -> ForecastAnswer:
    """The answer at ``now``. Raises ForecastRefusedError where it is older than three times its time to live."""
    age = max(0.0, (now - as_of).total_seconds())
    ttl, most = lifetime(forecast.series)
    if age > most:
        raise ForecastRefusedError(
            f"the forecast of {forecast.series} for {forecast.horizon} is {age:,.0f} s old, of {most:,.0f} s at most: "
            f"its last price is of {forecast.anchored_at:%Y-%m-%d %H:%M:%S} UTC, its newest bar closed at "
            f"{forecast.moment:%Y-%m-%d %H:%M} UTC; see `crypto-pipeline check`"
        )
    return ForecastAnswer(forecast, as_of, age, age > ttl)
