"""What the routes of health and cache are asked and answer, as OpenAPI describes it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Market = Literal["crypto", "stocks"]
_Row = dict[str, Any]


class CheckAnswer(BaseModel):
    """A check that is bad or unknown."""

    check: str
    subject: str | None = Field(description="A timeframe, strategy or venue; null where the check has none.")
    category: str
    status: Literal["bad", "unknown"]
    severity: str
    summary: str
    figure: float | None = Field(description="What was measured.")
    unit: str | None
    threshold: str | None = Field(description="What the figure is compared with.")
    since: AwareDatetime | None = Field(description="Since when the status is the same.")
    checked_at: AwareDatetime | None
    runbook: str = Field(description="Where to read what to do.")
    offenders: list[_Row] = Field(description="What fails.")


class HealthAnswer(BaseModel):
    """How the deployment is."""

    status: Literal["ok", "degraded", "critical", "unknown"] = Field(
        description="critical: a check of that severity is bad; degraded: another one is; unknown: one says nothing."
    )
    checks: list[CheckAnswer] | None = Field(
        description="What is bad or unknown, the gravest first. Null without the token, where one is set."
    )


class HealthDetails(BaseModel):
    """Everything that is known of a deployment. A part that cannot be read is null; ``troubles`` says why."""

    status: Literal["ok", "degraded", "critical", "unknown"]
    checks: list[CheckAnswer] | None
    database: _Row | None = Field(description="Version, size, latency, connections, and whether it is read-only.")
    freshness: list[_Row] | None = Field(description="Age of the newest bars by venue and timeframe, in seconds.")
    coverage: list[_Row] | None = Field(description="Stored, expected, explained and missing bars of the same.")
    gaps: list[_Row] | None = Field(description="Open rows of the ledger by state.")
    features: _Row | None = Field(description="Newest row of features and its age.")
    views: list[_Row] | None = Field(description="Age of the materialized views.")
    alerts: list[_Row] | None = Field(description="Open alerts by severity.")
    leases: list[_Row] | None
    heartbeats: list[_Row] | None = Field(description="Of every process that writes one.")
    programs: list[_Row] | None = Field(description="Of this deployment, with what each uses of the machine.")
    venues: list[_Row] | None = Field(description="Request budgets, and pauses that venues demanded.")
    machine: _Row | None = Field(description="Processors, load and memory.")
    disk: _Row | None = Field(description="Of the data directory.")
    queue: list[_Row] | None = Field(description="Unfinished runs by status.")
    daemons: list[_Row] | None = Field(description="Dagster's daemons.")
    schedules: list[_Row] | None = Field(description="Their last tick and last success.")
    sensors: list[_Row] | None = Field(description="The same of sensors.")
    troubles: dict[str, str] = Field(description="Part → why it cannot be read.")


class CacheStatus(BaseModel):
    """What is stored, how fresh it is, and the newest runs that requests started."""

    bars: list[_Row] | None = Field(description="Stored, expected, explained and missing bars by venue and timeframe.")
    freshness: list[_Row] | None = Field(description="Age of the newest bars by venue and timeframe, in seconds.")
    read_cache: dict[str, float] = Field(description="The cache of HTTP reads since the API started.")
    requests: list[CacheRun] | None = Field(description="The newest runs that requests started.")
    troubles: dict[str, str] = Field(description="Part that is null → why it cannot be read.")


class HistoricalSeries(BaseModel):
    """Stored bars of one timeframe."""

    timeframe: str
    first_day: date | None
    last_day: date | None
    bars: int = Field(description="In tables and archive.")
    archived: int
    expected: int
    explained: int
    missing: int = Field(description="Absent bars without a reason.")
    newest: AwareDatetime | None = Field(description="Open time of the newest bar.")


class HistoricalStatus(BaseModel):
    """What is stored of one instrument."""

    symbol: str
    market: Market | None
    venue: str
    active: bool = Field(description="Whether it is still collected.")
    series: list[HistoricalSeries]


class InstigatorStatus(BaseModel):
    """A schedule or sensor of Dagster."""

    name: str
    kind: str
    running: bool
    cron: str | None
    last_tick: AwareDatetime | None
    last_status: str | None
    last_success: AwareDatetime | None


class SchedulerStatus(BaseModel):
    """The scheduler: its daemons, schedules, sensors and unfinished runs."""

    daemons: list[_Row] | None
    schedules: list[InstigatorStatus] | None
    sensors: list[InstigatorStatus] | None
    runs: list[_Row] | None = Field(description="Unfinished runs by status.")
    troubles: dict[str, str] = Field(description="Part that is null → why it cannot be read.")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RefreshLive(_Body):
    """Which market's newest bars are asked for."""

    market: Market | None = Field(None, description="Default: every market.")


class SyncHistorical(_Body):
    """Which venue's history is synchronised."""

    venue: str | None = Field(None, max_length=64, description="Default: the first venue of the deployment.")


class BackfillSymbol(_Body):
    """Which instrument's history is brought up to date."""

    symbol: Annotated[str, Field(max_length=64, min_length=1, examples=["BTC-USDT"])]
    market: Market


class CacheRun(BaseModel):
    """The run of a request."""

    run_id: str
    job: str
    status: str = Field(description="queued, starting, started, success, failure …")
    request: str = Field(description="What was asked for. The same request has the same run until that is over.")
    started: bool = Field(description="Whether this request started it; false: it was there already.")
    url: str = Field(description="Page of the run in the Dagster UI.")


CacheStatus.model_rebuild()
#: Bodies by their address, for messages about unknown fields.
BODIES: dict[str, type[BaseModel]] = {
    "cache/refresh-live": RefreshLive,
    "cache/sync-historical": SyncHistorical,
    "cache/backfill-symbol": BackfillSymbol,
}
