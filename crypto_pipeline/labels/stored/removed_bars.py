"""Whether bars that a training set needs have been removed; without this check the set would lose rows silently."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from crypto_pipeline.features.compute import BENCHMARK_LOOK_BACK, LOOK_BACK
from crypto_pipeline.labels.stored import inputs
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError


def require_kept(
    store: Store,
    labels: pl.DataFrame,
    parameters: Parameters,
    benchmark: str | None,
    policy: RetentionPolicy,
    now: datetime,
) -> None:
    """Raise StoreError when bars from which the features of ``labels`` are computed are no longer kept.

    Of 15m bars every label says on how many days they were there when it was computed; of wider bars (and of the
    benchmark's) those count as removed that are absent where ``policy`` no longer keeps them, although there are bars
    of another width on that day.
    """
    if labels.is_empty():
        return
    days = labels.select("instrument", pl.col("signal_ts").dt.date().alias("day"), "data_version").unique()
    first = days["day"].min()
    assert isinstance(first, date)
    _require_own(store, days, parameters)
    names = days["instrument"].unique().sort().to_list()
    for timeframe, back in LOOK_BACK.items():
        if timeframe is not TIMEFRAME:
            _require(store, names, timeframe, first - timedelta(days=back), policy, now)
    for timeframe, back in BENCHMARK_LOOK_BACK.items():
        _require(store, [benchmark] if benchmark else [], timeframe, first - timedelta(days=back), policy, now)


def _require_own(store: Store, days: pl.DataFrame, parameters: Parameters) -> None:
    """15m bars: fewer days of them than when the label was computed, and one of those that features need."""
    counted = pl.col("data_version").str.split("/").list.get(1).str.split(".").list.get(0).cast(pl.Int64)
    windows = inputs.kept_days(store, days, inputs.look_back(parameters), inputs.look_ahead(parameters))
    needed = inputs.kept_days(store, days, LOOK_BACK[TIMEFRAME], 0)
    gone = days.with_columns(counted.alias("then"), windows.alias("now"), needed.alias("needed")).filter(
        (pl.col("now") < pl.col("then")) & (pl.col("needed") <= LOOK_BACK[TIMEFRAME])
    )
    if gone.height:
        name, day = gone.sort("day", "instrument").select("instrument", "day").row(0)
        last = gone["day"].max()
        assert isinstance(last, date)
        raise StoreError(
            f"15m bars from which features of {gone.height} instrument-days are computed have been removed, first of "
            f"{name} on {day}: start after {last}, or bring them back (`crypto-pipeline archive restore`)"
        )


def _require(
    store: Store, names: list[str], timeframe: Timeframe, first: date, policy: RetentionPolicy, now: datetime
) -> None:
    limit = policy.kept_start(timeframe, now)
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    if limit is None or begin >= limit or not names:
        return
    every = [one for one in Timeframe if one is not Timeframe.W1]
    cells = store.coverage.cells(every, begin, limit, names).filter(pl.col("present") > 0)
    kept = cells.filter(pl.col("timeframe") == str(timeframe))
    if gone := sorted(set(cells.select("instrument", "day").rows()) - set(kept.select("instrument", "day").rows())):
        name, day = gone[0]
        raise StoreError(
            f"features need {timeframe} bars of {name} on {day}, and those before {limit:%Y-%m-%d} are no longer kept: "
            f"start {(limit - begin).days} days later, or bring them back (`crypto-pipeline archive restore`)"
        )
