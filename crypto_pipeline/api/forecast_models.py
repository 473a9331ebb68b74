"""What can be asked of forecasts and what is answered, as OpenAPI describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from crypto_pipeline.forecasts.horizons import RELEASE, ForecastHorizon

if TYPE_CHECKING:
    _HorizonName = str
else:  # the schema lists the names
    _HorizonName = Literal[(*map(str, ForecastHorizon), str(RELEASE))]


class ForecastQuery(BaseModel):
    """How far a forecast looks ahead."""

    model_config = ConfigDict(extra="forbid")

    horizon: _HorizonName = Field("1h", description="24 hours, 7 days, 4 weeks; of a macro series the next release.")


class ForecastStep(BaseModel):
    """One step of a forecast; prices in the quote asset."""

    step: int
    target: AwareDatetime = Field(description="The close that it is about.")
    direction: Literal["UP", "DOWN", "HOLD"] = Field(description="HOLD: the 80 % interval holds no change.")
    low_95: float
    low_80: float
    median: float
    high_80: float
    high_95: float


class ForecastBody(BaseModel):
    """A forecast anchored to the last price."""

    symbol: str
    horizon: _HorizonName
    as_of: AwareDatetime = Field(description="When its price was last known to be current.")
    age_s: float = Field(description="Seconds since then.")
    stale: bool = Field(description="Older than it should be; three times as old it is refused.")
    moment: AwareDatetime = Field(description="Close of the newest bar that it rests on.")
    model: Literal["naive", "drift", "ets"]
    why: str = Field(description="Why this candidate was chosen.")
    price: float = Field(description="The last price, from which changes are counted.")
    anchored_at: AwareDatetime = Field(description="When that was the price.")
    direction: Literal["UP", "DOWN", "HOLD"] = Field(description="Of the last step.")
    quantiles: list[float] = Field(description="Of the five prices of each step.")
    steps: list[ForecastStep]
