"""Checks of macro series: missed releases, revisions larger than usual, series without an answer of the source.

A check without enough data for a verdict does not pass; its result says that the verdict is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.healing.macro.due import expected_release
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.macro.releases import revision_sizes
from crypto_pipeline.market.macro.vintages import today
from crypto_pipeline.market.severity import SEVERITIES, Severity
from crypto_pipeline.store import Store
from crypto_pipeline.store.macro.reads import MacroRow

SUBJECT = "macro"
#: No answer of the source for so long is too old.
STALE = timedelta(hours=24)
#: Revisions of so many days are compared with all earlier ones.
_RECENT = timedelta(days=30)
_KEY = "set CRYPTO_PIPELINE_FRED_API_KEY (free at https://fredaccount.stlouisfed.org/apikeys)"

#: Descriptions of the checks.
CHECKS = {
    "release_missed": "The value of the next period has come by the day that the release calendar has for it, or that "
    "follows from how long the series usually takes.",
    "revision_size": "No revision of the last 30 days is more than twice as large as 99 % of all earlier ones.",
    "is_fresh": "The source has answered within 24 hours for every series, and nothing of its answer was refused.",
}


#: Names under which their results are kept.
RECORDED = [f"{SUBJECT}_{name}" for name in CHECKS]


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why a series does not pass. ``unknown``: there is no verdict."""

    series: str
    because: str
    severity: Severity
    unknown: bool = False


def check_macro(store: Store, now: datetime, names: Collection[str] = tuple(CHECKS)) -> list[CheckOutcome]:
    """The checks called ``names`` over all collected series. ``now``: the market's time."""
    judges = {"release_missed": _release, "revision_size": _revisions, "is_fresh": _freshness}
    rows = store.macro.series()
    return [_outcome(name, rows, judge, store, now) for name, judge in judges.items() if name in names]


def record_macro(store: Store, outcomes: Sequence[CheckOutcome]) -> None:
    """Keep the outcomes, and open or close their alerts."""
    for one in outcomes:
        detail: dict[str, Any] = {"offenders": one.offenders.to_dicts()}
        store.checks.record_result(
            f"{SUBJECT}_{one.name}", None, one.passed, severity=one.severity, summary=one.summary, detail=detail,
            unknown=not one.figures["failing"],
        )  # fmt: skip


def _outcome(
    name: str,
    rows: Sequence[MacroRow],
    judge: Callable[[Store, MacroRow, datetime], _Fault | None],
    store: Store,
    now: datetime,
) -> CheckOutcome:
    faults = [fault for row in rows if (fault := judge(store, row, now)) is not None]
    severity: Severity = min((one.severity for one in faults), key=SEVERITIES.index, default="warning")
    unknown = sum(one.unknown for one in faults)
    names = ", ".join(f"{one.series} ({one.because})" for one in faults[:3])
    more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    summary = f"{len(rows)} series pass" if rows and not faults else f"{names}{more}"
    if not rows:
        severity, summary = "error", "no macro series is collected: nothing could be judged"
    offenders = pl.DataFrame(
        [(one.series, "unknown" if one.unknown else "fails", one.because) for one in faults],
        schema={"series": pl.String(), "verdict": pl.String(), "because": pl.String()},
        orient="row",
    )
    figures = {"series": float(len(rows)), "failing": float(len(faults) - unknown), "unknown": float(unknown)}
    return CheckOutcome(name, SUBJECT, bool(rows) and not faults, severity, summary, offenders, figures)


def _release(store: Store, row: MacroRow, now: datetime) -> _Fault | None:
    expected = expected_release(store, row)
    if expected is None:
        why = row.problem or "too few releases are known to say when the next one is due"
        return _Fault(row.name, why, "warning", unknown=True)
    if now < expected.overdue_from:
        return None
    why = f"the value of {expected.period} was expected on {expected.day}"
    return _Fault(row.name, why, "warning")


def _revisions(store: Store, row: MacroRow, now: datetime) -> _Fault | None:
    if row.collected_at is None:
        return _Fault(row.name, row.problem or "never collected", "warning", unknown=True)
    if not row.has_vintages:
        return _Fault(
            row.name, f"it has no vintages, so the sizes of its revisions are unknown: {_KEY}", "info", unknown=True
        )
    since = today(now - _RECENT, row.zone)
    sizes = revision_sizes(store.macro.observations(row, prints="all"), since, percent=row.percent)
    if sizes.limit is None:
        why = f"{sizes.recent} revisions, and only {sizes.earlier} earlier ones to compare them with"
        return _Fault(row.name, why, "warning", unknown=True) if sizes.recent else None
    if sizes.unusual.is_empty():
        return None
    period, day, before, value, _ = sizes.unusual.sort("size").row(-1)
    why = f"{sizes.unusual.height} revisions, the largest of {period} on {day}: {before:g} became {value:g}"
    return _Fault(row.name, why, "warning")


def _freshness(_: Store, row: MacroRow, now: datetime) -> _Fault | None:
    if row.collected_at is None or row.looked_at is None:
        return _Fault(row.name, row.problem or "never collected", "error", unknown=True)
    if now - row.looked_at > STALE:
        since = f"the source last answered at {row.looked_at:%Y-%m-%d %H:%M} UTC"
        return _Fault(row.name, f"{since}: {row.problem}" if row.problem else since, "error")
    return _Fault(row.name, row.problem, "warning") if row.problem else None
