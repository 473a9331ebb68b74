"""Whether every bar was scanned, and whether strategies still find setups."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.scans import ScanProgress
from crypto_pipeline.trading.scanning.silence import IMPROBABLE, LEAST_DAYS, silence
from crypto_pipeline.trading.stored.scans.summary import conditions_in_the_way

COMPLETE, FOUND = "scans_complete", "setups_are_found"
CHECKS = {
    COMPLETE: "Every bar of the last two days was scanned by every strategy, of every instrument.",
    FOUND: "No strategy has found nothing for longer than its own history makes likely.",
}
#: Days of scans that are looked at one by one, and days of history that a silence is compared with.
LOOK_BACK, _HISTORY = timedelta(days=2), timedelta(days=90)


def check_scans(store: Store, now: datetime) -> list[CheckOutcome]:
    """The checks of CHECKS."""
    progress = store.trading.scans.progress()
    if progress is None:
        words = "scanning begins when what is collected is complete"
        return [CheckOutcome(name, "scans", True, "info", words) for name in CHECKS]
    return [_complete(store, progress, now), _found(store, progress, now)]


def _complete(store: Store, progress: ScanProgress, now: datetime) -> CheckOutcome:
    """Rows of every bar and strategy: as many as the most, and no bar without any."""
    start, end = max(progress.scanned_from, TIMEFRAME.floor(now - LOOK_BACK)), progress.scanned_until
    counts = store.trading.scans.counts(start, end)
    every = pl.DataFrame({"signal_ts": pl.datetime_range(start, end, TIMEFRAME.delta, closed="left", eager=True)})
    expected = every.join(pl.DataFrame({"strategy": [str(one) for one in Strategy]}), how="cross")
    expected = expected.with_columns(pl.col("signal_ts").cast(counts.schema["signal_ts"]))
    joined = expected.join(counts, on=["signal_ts", "strategy"], how="left").with_columns(pl.col("scans").fill_null(0))
    most = pl.col("scans").max().over("signal_ts")
    offenders = joined.filter((pl.col("scans") < most) | (most == 0)).sort("signal_ts", "strategy")
    if offenders.height:
        words = f"{offenders.height} bars lack scans of a strategy, first {offenders['strategy'][0]} at "
        words += f"{offenders['signal_ts'][0]:%Y-%m-%d %H:%M} UTC"
        return CheckOutcome(COMPLETE, "scans", False, "error", words, offenders)
    words = f"{int(joined['scans'].sum()):,} scans of {every.height} bars"
    return CheckOutcome(COMPLETE, "scans", True, "error", words, offenders)


def _found(store: Store, progress: ScanProgress, now: datetime) -> CheckOutcome:
    """The silence of each strategy since its last setup, beside the days before it."""
    newest = store.trading.scans.newest_takes()
    rows, told = [], []
    for strategy in map(str, Strategy):
        heard = newest[strategy] + TIMEFRAME.delta if strategy in newest else progress.scanned_from
        found = _days_with_setups(store, strategy, (now - _HISTORY).date(), midnight(heard).date())
        judged = silence(found, (progress.scanned_until - heard) / timedelta(days=1))
        row = {"strategy": strategy, "silent_days": round(judged.days, 1), "probability": judged.probability}
        rows.append(row | {"longest_before": judged.longest_before, "days_before": judged.history})
        if judged.improbable:
            often = conditions_in_the_way(store, now).filter(pl.col("strategy") == strategy)["condition"].head(2)
            told.append(
                f"{strategy} has found nothing for {judged.days:.1f} days, by the {judged.history} days before with a "
                f"probability of {judged.probability:.2g}; most often in the way: {', '.join(often)}"
            )
    said = ", ".join(f"{row['strategy']} {row['silent_days']} days ago" for row in rows)
    words = "; ".join(told) or f"last setups: {said}; a silence is told below {IMPROBABLE:g}, after {LEAST_DAYS} days"
    return CheckOutcome(FOUND, "scans", not told, "warning", words, pl.DataFrame(rows))


def _days_with_setups(store: Store, strategy: str, first: date, until: date) -> list[bool]:
    days = store.trading.scans.days(first, until).filter(
        (pl.col("strategy") == strategy) & (pl.col("scans") > pl.col("unjudged"))
    )
    by_day = days.group_by("day").agg(pl.col("takes").sum()).sort("day")
    return (by_day["takes"] > 0).to_list()
