"""What can be asked and what is answered, as OpenAPI describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from crypto_pipeline.market.bars import BAR_FIELDS, UTC_MS
from crypto_pipeline.market.corporate_actions.factors import ADJUST
from crypto_pipeline.market.macro.selection import PRINTS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.query import MOST_LAST, NARROW, SESSIONS
from crypto_pipeline.reading.series.ledger import GAP_STATES
from crypto_pipeline.store.columns.frames import READ_SCHEMA

Time = Annotated[
    str,
    Field(
        max_length=60, examples=["2026-01-31", "2026-01-31T12:00Z"],
        description="RFC 3339 with zone; a bare date is its midnight in UTC.",
    ),
]  # fmt: skip
Limit = Annotated[int, Field(ge=1, le=50_000, description="Most rows of a page.")]
Instruments = Annotated[
    str | None,
    Field(None, max_length=4000, description="Names, separated by commas. Default: all."),
]
if TYPE_CHECKING:
    _TimeframeName = str
else:  # the schema lists the names
    _TimeframeName = Literal[tuple(map(str, Timeframe))]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BarsQuery(_Query):
    """``start``, or ``last``; without both the last day, for wider bars than minutes more."""

    timeframe: _TimeframeName = Field(description="Width of the bars.")
    start: Time | None = Field(None, description="First moment.")
    end: Time | None = Field(None, description="First moment no longer included. Default: now.")
    last: int | None = Field(None, ge=1, le=50_000, description="The newest so many bars.")
    as_of: Time | None = Field(None, description="What was known then.")
    final_only: bool = Field(True, description="False: also incomplete bars, and the one that is forming.")
    columns: str | None = Field(
        None,
        max_length=500,
        description=f"all, or some of {', '.join(READ_SCHEMA)}. Default: {', '.join(NARROW)}.",
    )
    fill: Literal["flat"] | None = Field(None, description="Flat bars where there is none, marked in column filled.")
    adjust: Literal[ADJUST] = Field(  # type: ignore[valid-type]
        "none", description="Prices on the basis after later splits; all: after dividends too. Counted as of as_of."
    )
    sessions: Literal[SESSIONS] = Field(  # type: ignore[valid-type]
        "all", description="Of stocks: regular leaves out bars of extended hours, marked adds the column extended."
    )
    limit: Limit = 1_000


class LatestQuery(_Query):
    """Which newest bars."""

    instruments: Instruments
    timeframe: _TimeframeName = Field("1m", description="Width of the bars.")
    final_only: bool = Field(True, description="False: also incomplete bars, and the one that is forming.")
    columns: str | None = Field(None, max_length=500, description="As for bars.")


class RowsQuery(_Query):
    """Which rows, and which page of them."""

    instruments: Instruments
    timeframe: _TimeframeName | None = Field(None, description="Default: all.")
    start: Time | None = Field(None, description="Rows that reach beyond it.")
    end: Time | None = Field(None, description="Rows that begin before it.")
    limit: Limit = 1_000
    offset: int = Field(0, ge=0, le=MOST_LAST, description="Rows to leave out, for the next page.")


class GapsQuery(RowsQuery):
    """Which holes."""

    state: Literal[GAP_STATES] | None = Field(None, description="Only holes in this state. Default: all open ones.")  # type: ignore[valid-type]
    as_of: Time | None = Field(None, description="Holes that were known and open then, with what is said of them now.")


class RevisionsQuery(_Query):
    """Which bars, by open time, and which page of their superseded copies."""

    timeframe: _TimeframeName = Field(description="Width of the bars.")
    start: Time = Field(description="First moment.")
    end: Time | None = Field(None, description="First moment no longer included. Default: now.")
    limit: Limit = 1_000
    offset: int = Field(0, ge=0, le=MOST_LAST, description="Rows to leave out, for the next page.")


class MacroQuery(_Query):
    """Which observations of a macro series, and which page of them."""

    start: Time | None = Field(None, description="First period: it begins then or later.")
    end: Time | None = Field(None, description="First period no longer included.")
    as_of: Time | None = Field(None, description="What was public then.")
    prints: Literal[PRINTS] = Field("latest", description="Newest value of a period, first one, or all.")  # type: ignore[valid-type]
    limit: Limit = 1_000
    offset: int = Field(0, ge=0, le=MOST_LAST, description="Rows to leave out, for the next page.")


class InstrumentsQuery(_Query):
    """Which instruments."""

    active_only: bool = Field(True, description="False: also those that are no longer collected.")


#: What may be asked, by the first part of the address.
QUERIES: dict[str, type[_Query]] = {
    "bars": BarsQuery, "latest": LatestQuery, "gaps": GapsQuery, "coverage": RowsQuery, "instruments": InstrumentsQuery,
    "macro": MacroQuery, "revisions": RevisionsQuery,
}  # fmt: skip


_KINDS: dict[pl.DataType, Any] = {
    pl.String(): str, pl.Float64(): float, pl.Int64(): int, pl.Boolean(): bool, UTC_MS: AwareDatetime,
}  # fmt: skip
_BAR_FIELDS: dict[str, Any] = {
    **{field.name: (_KINDS[field.dtype] | None, Field(None, description=field.description)) for field in BAR_FIELDS},
    "recorded_at": (AwareDatetime | None, Field(None, description="Since when it is the truth here.")),
    "vwap": (float | None, Field(None, description="Volume-weighted average price; null where nothing traded.")),
    "extended": (bool | None, Field(None, description="With sessions=marked: outside of the session.")),
    "filled": (bool | None, Field(None, description="With fill: true where nothing was stored.")),
}
#: One bar: the columns of a frame of bars, and what reading adds to them.
Bar: Any = create_model("Bar", __doc__="One bar; with ``columns`` only those.", **_BAR_FIELDS)


class Bars(BaseModel):
    """A page of bars."""

    instrument: str
    timeframe: _TimeframeName
    next: str | None = Field(description="Address of the next page.")
    bars: list[Bar]


class Latest(BaseModel):
    """The newest bars."""

    timeframe: _TimeframeName
    bars: list[Bar]


class Rows(BaseModel):
    """A page of rows."""

    next: str | None = Field(description="Address of the next page.")
    rows: list[dict[str, Any]]


class Health(BaseModel):
    """Whether the database answers."""

    status: Literal["ok"]
    cache: dict[str, float]
