"""The fields that every kind of fault has: when and to what it applies."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from crypto_pipeline.market.timeframes import Timeframe

Endpoint = Literal["klines", "aggTrades", "exchangeInfo", "time", "ping", "archive", "stream"]


def _listed(value: object) -> object:
    """One value may be written without the brackets of a list."""
    return [value] if isinstance(value, str) else value


class BaseFault(BaseModel):
    """When and to what a fault applies. A field that is left out matches everything."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    id: int = Field(0, description="Given by the exchange.")
    note: str = ""
    endpoint: list[Endpoint] | None = None
    symbol: list[str] | None = None
    timeframe: list[Timeframe] | None = None
    probability: float = Field(1.0, gt=0, le=1, description="Drawn for each request, from the seed of the exchange.")
    count: int | None = Field(None, ge=1, description="Over after it struck this many requests.")
    begins: AwareDatetime | None = Field(None, alias="from", description="Venue time from which it applies.")
    ends: AwareDatetime | None = Field(None, alias="until", description="Venue time from which it is over.")
    after_seconds: float = Field(0.0, ge=0, description="Real seconds after it was added until it applies.")
    for_seconds: float | None = Field(None, gt=0, description="Real seconds for which it applies.")

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, data: Any) -> Any:
        if isinstance(data, dict):
            several = ("endpoint", "symbol", "timeframe", "columns", "stream", "fields", "absent")
            data = {name: _listed(value) if name in several else value for name, value in data.items()}
            if isinstance(data.get("symbol"), list):
                data["symbol"] = [str(one).upper().replace("-", "").replace("_", "") for one in data["symbol"]]
        return data


class RowChanges(BaseFault):
    """What is changed in rows of klines (by the names of bars: ``volume``, ``trade_count``, …) or of trades (by the
    venue's letters: ``p``, ``q``, ``a``, ``T``, …). With ``start`` and ``end`` only in rows of that market time."""

    values: dict[str, str | int | float | None] = Field({}, description="What these fields say.")
    absent: list[str] = Field([], description="Fields that are left out.")
    reverse_ids: bool = Field(False, description="The ids of an answer's trades in the opposite order.")
    shift_ms: int = Field(0, description="Times are off by so much.")
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None


class SpanFault(BaseFault):
    """A fault about a span of market time."""

    start: AwareDatetime = Field(description="First moment of the span of market time.")
    end: AwareDatetime = Field(description="First moment after it.")

    @model_validator(mode="after")
    def _forward(self) -> SpanFault:
        if self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        return self
