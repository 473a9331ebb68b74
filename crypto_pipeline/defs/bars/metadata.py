"""What people see of bars: rows, span, coverage, candles, columns and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crypto_pipeline.defs.base.metadata import columns, picture, span_text, table, table_schema
from crypto_pipeline.healing import CheckOutcome, HealReport
from crypto_pipeline.healing.plan import OPEN_UNEXPLAINED
from crypto_pipeline.market.bars import BAR_FIELDS, VALUE_COLUMNS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.charts import bars as charts
from crypto_pipeline.store import Store

#: A heatmap shows at least the days before, however short the checked span is: a hole is seen among its neighbours.
_HEATMAP = timedelta(days=14)

_SQL_TYPES: dict[pl.DataType, str] = {pl.Float64(): "float8", pl.Int64(): "bigint"}
COLUMNS = [
    *columns("""
        instrument_id  integer      Which instrument: market.instruments names it.
        timeframe      text         Width of the bar: 1m 5m 15m 30m 1h 4h 1d 1w.
        open_time      timestamptz  Start of the bar, UTC.
    """),
    *((field.name, _SQL_TYPES[field.dtype], field.description) for field in BAR_FIELDS if field.name in VALUE_COLUMNS),
    *columns("""
        source_rank  smallint     Where this copy came from: market.bar_sources names it.
        complete     boolean      Every trade of the bar is in it.
        revision     timestamptz  When the venue stated the value.
        recorded_at  timestamptz  When it became the truth here.
    """),
]
COLUMN_SCHEMA = table_schema(COLUMNS, "(instrument, timeframe, open time)")

INSTRUMENT_SCHEMA = table_schema(
    columns("""
        instrument_id  integer      Number of the instrument in every table.
        symbol         text         Canonical name: BTC-USDT.
        asset_class    text         crypto, stock, …
        tier           text         Liquidity class: large, mid, meme, stock, macro.
        active         boolean      It is collected.
        added_at       timestamptz  When it was added, or added again.
    """),
    "symbol",
)
COVERAGE_SCHEMA = table_schema(
    columns("""
        instrument_id  integer  Which instrument: market.instruments names it.
        timeframe      text     Width of the bars.
        day            date     UTC day; of weekly bars the Monday.
        expected       integer  Bars that should exist by now.
        present        integer  Bars stored.
        explained      integer  Absent bars whose row in market.gaps says why.
        data_version   bigint   Changes whenever bars or explanations of the day do.
    """),
    "(instrument, timeframe, day)",
)
#: Prices come from the bars below in which something traded; each other column from its own.
_COMPUTED_FROM = {price: (price, "volume") for price in ("open", "high", "low", "close")}


def column_lineage(lower: str) -> dg.TableColumnLineage:
    """Which columns of the asset ``lower`` each column of the bars rolled up from it is computed from."""
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(lower), one) for one in _COMPUTED_FROM.get(name, (name,))]
            for name, _, _ in COLUMNS
            if name not in ("timeframe", "recorded_at")
        }
    )


def coverage_heatmap(store: Store, timeframe: Timeframe, start: datetime, end: datetime) -> dg.MarkdownMetadataValue:
    """Instrument × day of one timeframe, from the coverage table."""
    cells = store.coverage.cells([timeframe], start, end)
    return picture(charts.coverage_heatmap(cells, f"{timeframe} coverage"), f"{timeframe} coverage")


def materialization(
    store: Store,
    timeframe: Timeframe,
    partitions: Mapping[str, tuple[datetime, datetime]],
    report: HealReport,
    instruments: Sequence[str],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Metadata of one pass over ``partitions`` (in order of time): what is the run's, and by key each one's own.

    Pictures belong to the last partition, which is the one that the asset's page shows.
    """
    counts = report.of(timeframe)
    written = {
        "inserted": counts.inserted,
        "superseded": counts.superseded,
        "unchanged": counts.unchanged,
        "rebuilt_from_trades": counts.rebuilt_from_trades,
    }
    (start, _), *_, (_, end) = *partitions.values(), *partitions.values()
    # As numbers only where they are one partition's: the run's, repeated for each, would be a flat line in the plots.
    alone = len(partitions) == 1
    run: dict[str, Any] = written if alone else {"run": {"span": span_text(start, end), **written}}
    if report.problems:
        run["problems"] = dg.MetadataValue.json(report.problems)
    cells = store.coverage.cells([timeframe], start, end, list(instruments))
    own = {}
    for key, (first, until) in partitions.items():
        inside = cells.filter(pl.col("day").is_between(first.date(), until.date(), closed="left"))
        own[key] = {"span": span_text(first, until), **_accounted(inside)}
    if cells.height:
        own[key]["coverage"] = picture(charts.coverage_heatmap(cells, f"{timeframe} coverage"), "coverage")
    if instruments:
        own[key] |= candles(store, instruments[0], timeframe, end)
    return run, own


def _accounted(cells: pl.DataFrame) -> dict[str, int]:
    """Bars of some coverage cells."""
    totals = cells.select(pl.col("expected", "present", "explained").sum()).row(0, named=True)
    return {
        "dagster/row_count": totals["present"],
        "instruments": cells.filter(pl.col("expected") > 0)["instrument"].n_unique(),
        **totals,
        "missing": totals["expected"] - totals["present"] - totals["explained"],
    }


def candles(
    store: Store, instrument: str, timeframe: Timeframe, end: datetime, reach: datetime | None = None
) -> dict[str, Any]:
    """The last bars before ``end`` as a chart; nothing where there are none. The chart reaches to ``reach``."""
    bars = store.reader.read([instrument], timeframe, end - timeframe.delta * 160, end)
    if bars.is_empty():
        return {}
    drawn = charts.candles(bars, timeframe.delta, f"{instrument} {timeframe}", reach)
    return {"candles": picture(drawn, "candles")}


def check(store: Store, outcome: CheckOutcome, start: datetime, end: datetime) -> dict[str, Any]:
    """Metadata of a check: who offends and when; a heatmap where coverage is the question."""
    shown: dict[str, Any] = {"timeframe": str(outcome.timeframe), "summary": outcome.summary, **outcome.figures}
    if outcome.offenders.height:
        shown["offenders"] = table(outcome.offenders)
        names = outcome.offenders["instrument"].unique(maintain_order=True).to_list()
        shown["instruments"] = names[:50]
        until = _after_first(store, outcome, end)
        shown |= candles(store, names[0], outcome.timeframe, until, reach=until)
    if outcome.name == "accounted_for" or not outcome.passed:
        shown["coverage"] = coverage_heatmap(store, outcome.timeframe, min(start, end - _HEATMAP), end)
    return shown


def agreement(outcome: CheckOutcome) -> dict[str, Any]:
    """Metadata of agreement with the venue, where a comparison tells it and not a run of bars."""
    shown: dict[str, Any] = {"timeframe": str(outcome.timeframe), **outcome.figures}
    return shown | ({"offenders": table(outcome.offenders)} if outcome.offenders.height else {})


def _after_first(store: Store, outcome: CheckOutcome, end: datetime) -> datetime:
    """Where to look at the first offender: some bars after it begins, or at the end where it has no time."""
    timeframe = outcome.timeframe
    first = outcome.offenders.row(0, named=True)
    opened = first.get("open_time")
    if isinstance(opened, datetime):
        return min(end, opened + timeframe.delta * 60)
    if (day := first.get("day")) is None:
        return end
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    ends = begins + timedelta(days=timeframe.cell_days)
    holes = store.ledger.open(timeframe, [first["instrument"]], OPEN_UNEXPLAINED, begins, ends)
    return min(end, holes["start"][0] + timeframe.delta * 60 if holes.height else ends)
