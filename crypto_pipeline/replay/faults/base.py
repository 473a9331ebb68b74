"""The common fields of all faults: when they apply, and to which requests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from crypto_pipeline.market.timeframes import Timeframe

# fmt: off
Endpoint = Literal[
    "klines", "aggTrades", "exchangeInfo", "time", "ping", "archive", "stream", "fred", "massive",
    "order", "oco", "openOrders", "allOrders", "orderList", "myTrades", "account", "userData",
]
# fmt: on


def _listed(value: object) -> object:
    """Make a list of a single value, which may be written without brackets."""
    return [value] if isinstance(value, str) else value


class BaseFault(BaseModel):
    """When a fault applies, and to which requests. A field that is left out matches all requests."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    id: int = Field(0, description="Assigned by the exchange.")
    note: str = ""
    endpoint: list[Endpoint] | None = None
    symbol: list[str] | None = None
    timeframe: list[Timeframe] | None = None
    probability: float = Field(
        1.0, gt=0, le=1, description="Probability for each request, drawn from the seed of the exchange."
    )
    count: int | None = Field(None, ge=1, description="Ends after it was applied to this many requests.")
    begins: AwareDatetime | None = Field(None, alias="from", description="Venue time from which it applies.")
    ends: AwareDatetime | None = Field(None, alias="until", description="Venue time at which it ends.")
    after_seconds: float = Field(0.0, ge=0, description="Real seconds between adding it and its start.")
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
    """Changes of rows of klines (fields by the names of bars: ``volume``, ``trade_count``, …) or of trades (by the
    venue's letters: ``p``, ``q``, ``a``, ``T``, …). With ``start`` and ``end``, only rows of that market time."""

    values: dict[str, str | int | float | None] = Field({}, description="New values of fields.")
    absent: list[str] = Field([], description="Fields to leave out.")
    reverse_ids: bool = Field(False, description="Reverse the ids of an answer's trades.")
    shift_ms: int = Field(0, description="Milliseconds added to times.")
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None


class SpanFault(BaseFault):
    """A fault of a span of market time."""

    start: AwareDatetime = Field(description="First moment of the span of market time.")
    end: AwareDatetime = Field(description="First moment after the span.")

    @model_validator(mode="after")
    def _forward(self) -> SpanFault:
        if self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        return self
