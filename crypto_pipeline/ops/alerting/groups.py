"""Open alerts grouped by cause: one gap makes several checks fail, and a person should read about it once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from crypto_pipeline.market.severity import SEVERITIES
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: Checks that fail wherever bars are missing. Names of checks of features and labels are compared up to their colon.
_FOLLOW_HOLES = {
    "accounted_for", "freshness", "rollup_conservation", "venue_agreement", "up_to_date", "null_share", "range",
    "complete",
}  # fmt: skip
_DAY = timedelta(days=1)
#: Gaps whose starts and ends differ by at most this much have one cause.
_NEAR = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Alert:
    """One open alert.

    Attributes:
        source: What raised it: a check, a run, a venue that was replaced.
        timeframe: Of the bars that it is about; empty where it is about none.
        severity: warning, error or critical.
        summary: For people, one line.
        opened_at: UTC.
        where: Instruments and the spans on which they offend (UTC), as far as the alert says so.
        alert_id: By which it is acknowledged or muted.
    """

    source: str
    timeframe: str
    severity: str
    summary: str
    opened_at: datetime
    where: tuple[tuple[str, datetime, datetime], ...] = ()
    alert_id: int = 0


@dataclass(slots=True)
class AlertGroup:
    """Alerts of one cause, the most severe first. ``fix`` is the advised action; empty when none is needed."""

    cause: str
    fix: str = ""
    alerts: list[Alert] = field(default_factory=list)

    @property
    def severity(self) -> str:
        """The severity of the most severe alert."""
        return min((each.severity for each in self.alerts), key=SEVERITIES.index)

    @property
    def since(self) -> datetime:
        """When the first of the alerts was opened."""
        return min(each.opened_at for each in self.alerts)

    def as_dict(self) -> dict[str, Any]:
        """The group as a dict for JSON; times stay datetimes."""
        return {
            "cause": self.cause,
            "severity": self.severity,
            "since": self.since,
            "fix": self.fix,
            "alerts": [
                {"id": one.alert_id, "check": one.source, "timeframe": one.timeframe or None, "severity": one.severity,
                 "summary": one.summary, "opened_at": one.opened_at}
                for one in self.alerts
            ],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hole:
    """Missing bars without a known reason in one span of time, over all timeframes and instruments affected."""

    instruments: frozenset[str]
    start: datetime
    end: datetime
    bars: int
    because: str

    @property
    def cause(self) -> str:
        """One line that names the instruments, the span and the last finding."""
        names = sorted(self.instruments)
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"bars missing of {some}, {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC: {self.because}"


def alert_groups(store: Store) -> list[AlertGroup]:
    """Put every open alert into exactly one group; the most severe group comes first, then the oldest."""
    alerts = [_alert(row) for row in store.checks.open_alerts().iter_rows(named=True)]
    groups: dict[str, AlertGroup] = {}
    found = holes(store)
    for alert in alerts:
        hole = next((one for one in found if _follows(alert, one)), None)
        if hole is not None:
            group = AlertGroup(
                hole.cause, "the pipeline requests them again by itself; `crypto-pipeline gaps` says when"
            )
        elif alert.source.startswith("run:"):
            job = alert.source.removeprefix("run:")
            group = AlertGroup(f"the last run of {job} failed", "open the run in the Dagster UI")
        elif alert.source.startswith("failover:"):
            venue = alert.source.split(":")[1]
            group = AlertGroup(f"{venue} does not answer or contradicts itself")
        else:
            group = AlertGroup(f"{alert.source}: {alert.summary}")
        groups.setdefault(group.cause, group).alerts.append(alert)
    for group in groups.values():
        group.alerts.sort(key=lambda one: (SEVERITIES.index(one.severity), one.opened_at))
    return sorted(groups.values(), key=lambda one: (SEVERITIES.index(one.severity), one.since))


def holes(store: Store) -> list[Hole]:
    """Open gaps of the ledger that have no reason. Gaps of several series at the same time are merged into one."""
    rows = store.ledger.open(states=["lost", "pending"]).sort("start", "end")
    found: list[Hole] = []
    for row in rows.iter_rows(named=True):
        # A bar of a wider timeframe that lacks a minute begins before that minute.
        width = max(_NEAR, Timeframe(row["timeframe"]).delta)
        because = str(json.loads(row["evidence"]).get("because", "no reason is known yet")).rstrip(".")
        hole = Hole(frozenset([row["instrument"]]), row["start"], row["end"], row["bars"], because)
        near = next((one for one in found if hole.start < one.end + width and one.start < hole.end + width), None)
        if near is None:
            found.append(hole)
            continue
        found.remove(near)
        narrower = min(near, hole, key=lambda one: one.end - one.start)
        found.append(
            Hole(near.instruments | hole.instruments, narrower.start, narrower.end, near.bars + hole.bars, near.because)
        )
    return found


def _follows(alert: Alert, hole: Hole) -> bool:
    """Whether the gap explains the alert: the alert names the gap's time, or one of its instruments."""
    if alert.source.split(":")[0] not in _FOLLOW_HOLES or alert.severity == "info":
        return False
    if not alert.where:
        return alert.source.split(":")[0] in ("up_to_date", "null_share", "complete")
    return any(
        name in hole.instruments and start < hole.end + _DAY and hole.start < end + _DAY
        for name, start, end in alert.where
    )


def _alert(row: dict[str, Any]) -> Alert:
    detail = json.loads(row["detail"])
    offenders = detail.get("offenders") if isinstance(detail, dict) else None
    where = tuple(_where(offenders or []))
    return Alert(
        row["source"], row["timeframe"], row["severity"], row["summary"], row["opened_at"], where, row["alert_id"]
    )


def _where(offenders: Iterable[Any]) -> Iterator[tuple[str, datetime, datetime]]:
    for offender in offenders:
        if not isinstance(offender, dict) or "instrument" not in offender:
            continue
        at = _time(offender.get("open_time") or offender.get("day") or offender.get("start"))
        if at is not None:
            yield str(offender["instrument"]), at, at + _DAY


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
