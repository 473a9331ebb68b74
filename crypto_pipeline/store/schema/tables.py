"""Tables of administration and of low volume, typed for SQLAlchemy Core.

The migrations in ``sql/`` make the tables; a test compares these declarations with a migrated database. Tables with few
rows that are written by single statements belong here. Bars, trades, features and labels do not; they use COPY and
ADBC. Import this module only where it is used, because readers of bars must import fast.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Identity,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB, TIMESTAMP

METADATA = MetaData()
_TIME = TIMESTAMP(timezone=True)
_CLOCK = func.clock_timestamp()
_TIMEFRAME = Text(collation="C")


def _table(schema: str, name: str, *columns: Column[Any], **options: Any) -> Table:
    return Table(name, METADATA, *columns, schema=schema, **options)


def _required(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *more, nullable=False, **options)


def _instrument(*more: Any, **options: Any) -> Column[Any]:
    return _required("instrument_id", Integer, ForeignKey("market.instruments.instrument_id"), *more, **options)


INSTRUMENTS = _table(
    "market",
    "instruments",
    Column("instrument_id", Integer, Identity(always=True), primary_key=True),
    _required("symbol", Text, unique=True),
    _required("asset_class", Text),
    _required("base", Text),
    _required("quote", Text),
    _required("tier", Text),
    _required("calendar", Text, server_default="24/7"),
    _required("active", Boolean, server_default="true"),
    _required("added_at", _TIME, server_default=func.now()),
    Column("tick_size", Numeric),
    Column("lot_size", Numeric),
    Column("removed_at", _TIME),
    Column("venue", Text),
)

LISTINGS = _table(
    "market",
    "listings",
    _instrument(primary_key=True),
    Column("venue", Text, primary_key=True),
    _required("venue_symbol", Text),
    Column("listed", _TIME),
    Column("delisted", _TIME),
    _required("status", Text, server_default="trading"),
    Column("tick_size", Numeric),
    Column("lot_size", Numeric),
    _required("updated_at", _TIME, server_default=func.now()),
    _required("first_bars", JSONB, server_default="{}"),
)

RECONCILIATIONS = _table(
    "market",
    "reconciliations",
    Column("reconciliation_id", BigInteger, Identity(always=True), primary_key=True),
    _instrument(),
    _required("timeframe", _TIMEFRAME),
    _required("open_time", _TIME),
    _required("kind", Text),
    _required("state", Text, server_default="open"),
    _required("ours", JSONB),
    _required("theirs", JSONB),
    _required("columns", ARRAY(Text)),
    _required("attempts", Integer, server_default="0"),
    _required("found_at", _TIME, server_default=func.now()),
    _required("last_seen", _TIME, server_default=func.now()),
    Column("resolved_at", _TIME),
    Column("note", Text),
)

FAILOVERS = _table(
    "market",
    "failovers",
    Column("failover_id", BigInteger, Identity(always=True), primary_key=True),
    _instrument(),
    _required("timeframe", _TIMEFRAME),
    _required("start_time", _TIME),
    _required("end_time", _TIME),
    _required("venue", Text),
    _required("instead_of", Text),
    _required("reason", Text),
    _required("because", Text, server_default=""),
    _required("attempts", Integer, server_default="0"),
    _required("taken_at", _TIME, server_default=_CLOCK),
    Column("next_attempt", _TIME),
    Column("closed_at", _TIME),
    Column("outcome", Text),
)

CORPORATE_ACTIONS = _table(
    "market",
    "corporate_actions",
    Column("action_id", BigInteger, Identity(always=True), primary_key=True),
    _instrument(),
    _required("venue", Text),
    _required("event_id", Text),
    _required("kind", Text),
    _required("effective_date", Date),
    _required("effective_at", _TIME),
    _required("known_at", _TIME),
    _required("recorded_at", _TIME, server_default=_CLOCK),
    _required("withdrawn", Boolean, server_default="false"),
    Column("split_from", DOUBLE_PRECISION),
    Column("split_to", DOUBLE_PRECISION),
    Column("amount", DOUBLE_PRECISION),
    Column("currency", Text),
    Column("old_symbol", Text),
    Column("new_symbol", Text),
)

CHECK_RESULTS = _table(
    "ops",
    "check_results",
    Column("check_name", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True, server_default=""),
    _required("passed", Boolean),
    _required("severity", Text),
    _required("summary", Text),
    _required("detail", JSONB, server_default="{}"),
    _required("checked_at", _TIME, server_default=_CLOCK),
    _required("since", _TIME, server_default=_CLOCK),
    _required("status", Text, server_default="unknown"),
    Column("figure", DOUBLE_PRECISION),
    _required("threshold", Text, server_default=""),
)

ALERTS = _table(
    "ops",
    "alerts",
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _required("source", Text),
    _required("timeframe", Text, server_default=""),
    _required("severity", Text),
    _required("summary", Text),
    _required("detail", JSONB, server_default="{}"),
    _required("opened_at", _TIME, server_default=_CLOCK),
    _required("last_seen", _TIME, server_default=_CLOCK),
    _required("times_seen", Integer, server_default="1"),
    Column("resolved_at", _TIME),
    Column("first_look", _TIME),
    Column("announced_at", _TIME),
    _required("announcements", Integer, server_default="0"),
    Column("recovery_at", _TIME),
    Column("acknowledged_at", _TIME),
    Column("acknowledged_by", Text),
    Column("muted_until", _TIME),
)

JOB_METRICS = _table(
    "ops",
    "job_metrics",
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _required("job", Text),
    Column("run_id", Text),
    _required("started", _TIME),
    _required("seconds", DOUBLE_PRECISION),
    _required("rows", BigInteger, server_default="0"),
    _required("succeeded", Boolean),
    _required("detail", JSONB, server_default="{}"),
    _required("status", Text, server_default="succeeded"),
    _required("bars_made", BigInteger, server_default="0"),
    _required("gaps_found", BigInteger, server_default="0"),
    _required("gaps_filled", BigInteger, server_default="0"),
    Column("oldest_gap", _TIME),
)

MACRO_SERIES = _table(
    "market",
    "macro_series",
    Column("series_id", Text, primary_key=True),
    _required("name", Text, unique=True),
    _required("zone", Text),
    _required("active", Boolean, server_default="true"),
    *(_required(name, Text, server_default="") for name in ("title", "units", "frequency", "seasonal_adjustment")),
    Column("release_id", Integer),
    Column("release_name", Text),
    Column("has_vintages", Boolean),
    *(Column(name, _TIME) for name in ("last_updated", "calendar_at", "looked_at", "collected_at")),
    _required("attempts", Integer, server_default="0"),
    Column("next_attempt", _TIME),
    Column("problem", Text),
    _required("added_at", _TIME, server_default=_CLOCK),
)


def _observation(*, key: bool) -> list[Column[Any]]:
    """What an observation has; ``key``: there is one of a series, period and vintage."""
    return [
        _required("series_id", Text, ForeignKey("market.macro_series.series_id"), primary_key=key),
        _required("period", Date, primary_key=key),
        _required("vintage_start", Date, primary_key=key),
        Column("vintage_end", Date),
        Column("value", DOUBLE_PRECISION),
        _required("available_at", _TIME),
        _required("basis", Text),
    ]


MACRO_OBSERVATIONS = _table(
    "market",
    "macro_observations",
    *_observation(key=True),
    _required("recorded_at", _TIME, server_default=_CLOCK),
)

MACRO_REPLACED = _table(
    "market",
    "macro_replaced",
    Column("replaced_id", BigInteger, Identity(always=True), primary_key=True),
    *_observation(key=False),
    _required("replaced_at", _TIME),
)

MACRO_RELEASES = _table(
    "market",
    "macro_releases",
    Column("release_id", Integer, primary_key=True, autoincrement=False),
    Column("release_date", Date, primary_key=True),
)
