"""Checks of the stored bars of one timeframe. Each names the instruments and times that fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.healing.checks.freshness import Thresholds, ages
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.classification import GapState
from crypto_pipeline.market.severity import Severity
from crypto_pipeline.market.timeframes import LOWER, Timeframe
from crypto_pipeline.store import Store

#: The checks of every timeframe, with what each promises. `complete` in `status` means that all of them passed.
CHECKS = {
    "accounted_for": "Every expected bar is present or explained by the ledger.",
    "ohlc_sanity": "No bar is impossible: low ≤ open, close ≤ high; prices above zero, volumes not below, all finite.",
    "rollup_conservation": "Rolled-up bars hold exactly the volume of the bars below them.",
    "venue_agreement": "Our bars equal the venue's own, as far as they were compared; no disagreement is unsettled.",
    "no_future_bars": "No bar claims to be complete before its window is over.",
    "freshness": "The newest bar of every instrument is as new as it should be.",
}

#: Checks of 1m bars alone. They doubt the venue's own bars, which healing cannot repair: `status` says `complete`
#: although they fail.
MINUTE_CHECKS = {
    "silence_is_plausible": "Minutes without volume are flat at the close before them, and no silence is longer than "
    "the instrument's habits explain, or shared by all instruments.",
}

#: The market's time in two processes may differ so much (see store/database/market_clock.py).
_SKEW = timedelta(seconds=1)
#: A day that nothing has come to for so long waits for nothing: a run over all of history takes less.
_UNTOUCHED = timedelta(hours=2)


def checks_of(timeframe: Timeframe) -> dict[str, str]:
    """The checks of one timeframe, with what each promises."""
    return CHECKS | MINUTE_CHECKS if timeframe is Timeframe.M1 else CHECKS


def verify(
    store: Store,
    timeframe: Timeframe,
    start: datetime,
    end: datetime,
    horizon: Horizon,
    thresholds: Thresholds,
    venue: str | None = None,
) -> list[CheckOutcome]:
    """Run every check that needs only the store on ``[start, end)``; freshness only of ``venue`` where one is given."""
    start, end = horizon.clip(timeframe, start, end)
    # lower bars in the archive cannot be compared
    comparable = horizon.first_hot(LOWER.get(timeframe, timeframe))
    span_checks: list[Callable[[], CheckOutcome]] = [
        lambda: accounted_for(store, timeframe, start, end, horizon),
        lambda: ohlc_sanity(store, timeframe, start, end),
        lambda: rollup_conservation(store, timeframe, max(start, comparable), end),
        # by the present time: bars that ingest finished since the horizon was taken are not of the future
        lambda: no_future_bars(store, timeframe, max(horizon.now, store.clock.now()) + _SKEW),
        lambda: freshness(store, timeframe, horizon, thresholds, venue),
    ]
    return [check() for check in span_checks]


def accounted_for(
    store: Store, timeframe: Timeframe, start: datetime, end: datetime, horizon: Horizon | None = None
) -> CheckOutcome:
    """Invariant I3 on every cell of the span; only a warning where all that is missing is unproven.

    With ``horizon`` also on its cells outside of the span that nothing has come to in hours: no run looks at them.
    """
    cells = store.coverage.cells([timeframe], start, end)
    lacking = (pl.col("expected") - pl.col("present") - pl.col("explained")).alias("missing")
    columns = ("instrument", "day", "expected", "present", "explained")
    holes = cells.select(*columns, lacking).filter(pl.col("missing") > 0)
    if horizon is not None:
        bounds = horizon.first_hot(timeframe), horizon.settled_end(timeframe)
        waiting = store.coverage.untouched(timeframe, *bounds, _UNTOUCHED) if bounds[0] < bounds[1] else cells.clear()
        outside = waiting.join(cells, on=["instrument", "day"], how="anti")
        holes = pl.concat([holes, outside.select(*columns, lacking)])
    overfull = cells.filter(pl.col("present") > pl.col("expected"))
    total = int(holes["missing"].sum())
    if holes.is_empty():
        explained = int(cells["explained"].sum())
        extra = f", {overfull.height} cells hold more than was expected" if overfull.height else ""
        return _passed(
            "accounted_for", timeframe, f"{int(cells['present'].sum()):,} bars present, {explained:,} explained{extra}"
        )
    worst = holes.sort("missing", descending=True)
    unproven = _unproven(store, timeframe, start, end)
    said = (
        f"{total:,} bars missing of {holes['instrument'].n_unique()} instruments on {holes['day'].n_unique()} days; "
        f"worst: {worst['instrument'][0]} on {worst['day'][0]} ({worst['missing'][0]:,})"
    )
    if unproven:
        said += f"; of {unproven:,} the venue does not show whether anything was traded (`gaps --state unproven`)"
    return CheckOutcome("accounted_for", timeframe, False, "error" if total > unproven else "warning", said, worst)


def _unproven(store: Store, timeframe: Timeframe, start: datetime, end: datetime) -> int:
    """How many bars of ``[start, end)`` the ledger calls unproven."""
    rows = store.ledger.open(timeframe, states=[str(GapState.UNPROVEN)], start=start, end=end)
    return span.bar_count(span.clip(rows, start, end), timeframe)


def ohlc_sanity(store: Store, timeframe: Timeframe, start: datetime, end: datetime) -> CheckOutcome:
    """No impossible bar in the span."""
    insane = store.audit.insane_bars(timeframe, start, end)
    return _outcome("ohlc_sanity", timeframe, insane, "error", "impossible bars", "no impossible bar")


def rollup_conservation(store: Store, timeframe: Timeframe, start: datetime, end: datetime) -> CheckOutcome:
    """Volume of rolled-up windows equals the volume below."""
    lower = LOWER.get(timeframe)
    if lower is None:
        return _passed("rollup_conservation", timeframe, "one-minute bars are not rolled up from anything")
    differing = store.audit.volume_conservation(timeframe, lower, start, end)
    return _outcome(
        "rollup_conservation", timeframe, differing, "error",
        f"days with another volume than their {lower} bars", f"equal to the {lower} bars below",
    )  # fmt: skip


def no_future_bars(store: Store, timeframe: Timeframe, now: datetime) -> CheckOutcome:
    """No bar is complete before its window is over."""
    early = store.audit.future_bars(timeframe, now)
    return _outcome("no_future_bars", timeframe, early, "error", "bars from windows that are not over", "none")


def freshness(
    store: Store, timeframe: Timeframe, horizon: Horizon, thresholds: Thresholds, venue: str | None = None
) -> CheckOutcome:
    """How overdue each active instrument's next bar is, by its calendar; the severity is that of the worst.

    With ``venue`` only of its series.
    """
    if horizon.settled_end(timeframe) <= horizon.first_open(timeframe):
        return _passed("freshness", timeframe, "no window of the kept history is over yet")
    aged = ages(store, timeframe, horizon, thresholds, venue)
    late = aged.filter(pl.col("level") != "ok")
    if late.is_empty():
        until = f"{horizon.settled_end(timeframe):%Y-%m-%d %H:%M} UTC"
        return _passed("freshness", timeframe, f"{aged.height} instruments up to {until}")
    worst = late.row(0, named=True)
    names = ", ".join(late["instrument"].head(5).to_list())
    said = f"{late.height} instruments late, the first by {worst['overdue']}: {names}"
    offenders = late.select("instrument", "open_time", "overdue", "level")
    figures = {"overdue_seconds": worst["overdue"].total_seconds()}
    return CheckOutcome("freshness", timeframe, False, worst["level"], said, offenders, figures)


def _outcome(
    name: str, timeframe: Timeframe, offenders: pl.DataFrame, severity: Severity, what: str, fine: str
) -> CheckOutcome:
    if offenders.is_empty():
        return _passed(name, timeframe, fine)
    first = offenders.row(0, named=True)
    when = first.get("open_time") or first.get("day")
    more = "at least " if offenders.height >= 1000 else ""
    return CheckOutcome(
        name, timeframe, False, severity,
        f"{more}{offenders.height:,} {what}, of {offenders['instrument'].n_unique()} instruments; "
        f"first: {first['instrument']} {when}",
        offenders,
    )  # fmt: skip


def _passed(name: str, timeframe: Timeframe, summary: str) -> CheckOutcome:
    return CheckOutcome(name, timeframe, True, "error", summary)
