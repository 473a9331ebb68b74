"""What the routes of the live page answer, as OpenAPI describes it."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from crypto_pipeline.api.operations.models import InstigatorStatus

_Row = dict[str, Any]


class WatchedInstrument(BaseModel):
    """An instrument that is collected; what is not known is null."""

    instrument: str
    last_price: float | None
    price_time: AwareDatetime | None = Field(description="When it was the price, by the market's time.")
    age_s: float | None = Field(description="Age of the price in seconds of the market's time.")
    source: str | None = Field(description="What stated the price: the stream, or the newest bar.")
    bars: int | None = Field(description="Stored 1m bars of the current UTC day.")
    holes: int | None = Field(description="Absent ones without a reason.")
    explained: int | None = Field(description="Absent ones with a reason.")
    venue: str | None
    change_24h: float | None = Field(description="Against the price a day ago, as a share of it.")


class WatchlistAnswer(BaseModel):
    """Every active instrument; those of a venue stand together."""

    next: None = Field(description="There is one page.")
    rows: list[WatchedInstrument]


class OpenAlert(BaseModel):
    """An open alert."""

    id: int = Field(description="By which `crypto-pipeline alerts ack` takes it.")
    check: str
    timeframe: str | None
    severity: str
    summary: str
    opened_at: AwareDatetime


class AlertCause(BaseModel):
    """Open alerts of one cause."""

    cause: str
    severity: str = Field(description="Of the gravest alert.")
    since: AwareDatetime
    fix: str = Field(description="What to do; empty: nothing.")
    alerts: list[OpenAlert]


class AlertsAnswer(BaseModel):
    """Open alerts by their cause, the gravest first."""

    groups: list[AlertCause]


class ScheduleStatus(InstigatorStatus):
    """A schedule or sensor, and where Dagster shows it."""

    next_tick: AwareDatetime | None = Field(description="Of a running schedule, in UTC.")
    url: str = Field(description="Its page in the Dagster UI.")


class SchedulesAnswer(BaseModel):
    """Schedules and sensors of Dagster. A part that cannot be read is null; ``troubles`` says why."""

    ui: str = Field(description="Address of the Dagster UI.")
    schedules: list[ScheduleStatus] | None
    sensors: list[ScheduleStatus] | None
    runs: list[_Row] | None = Field(description="Unfinished runs by status.")
    troubles: dict[str, str]


class ShadowVariant(BaseModel):
    """A variant that trades beside production; figures in percent of the capital."""

    strategy: str
    variant: str
    days: int
    trades: int
    net: float
    drawdown: float
    difference: float = Field(description="To production, a day.")
    low: float | None = Field(description="Lower end of its 95 % interval.")
    high: float | None = Field(description="Upper end.")
    p: float | None
    because: str = Field(description="Why it cannot be recommended; empty: it can.")


class ShadowAnswer(BaseModel):
    """Variants that trade beside production, and the newest test of them."""

    because: str | None = Field(description="Why there is nothing to compare.")
    days: list[str] | None = Field(description="First and last day that are compared.")
    variants: list[ShadowVariant]
    test: _Row | None = Field(description="The newest test.")
    test_words: str = Field(description="The same in a sentence.")
    next_test: str | None
    in_force: list[_Row] = Field(description="Variants that production trades as.")
    declares: dict[str, _Row] = Field(description="What each variant does differently.")
