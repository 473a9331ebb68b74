"""When an alert is announced. Pure: rows of ``ops.alerts``, rules and the time decide, nothing else.

An alert is announced when two looks in a row saw it open, at most once an hour, and its end is announced if it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from crypto_pipeline.market.severity import SEVERITIES
from crypto_pipeline.store.operations.notifications.alerts import AlertRecord, MaintenanceWindow


@dataclass(frozen=True, slots=True)
class AlertRules:
    """What the settings say about announcements.

    Attributes:
        severity: Alerts that are less grave are not announced.
        between_looks: Two looks that count are at least this far apart.
        quiet: After a message about an alert there is no other about its opening for so long.
        remind: An alert that stays open and is not acknowledged is announced again after so long; None: never.
    """

    severity: str = "warning"
    between_looks: timedelta = timedelta(seconds=10)
    quiet: timedelta = timedelta(hours=1)
    remind: timedelta | None = timedelta(hours=6)


@dataclass(slots=True)
class Decision:
    """What to do after one look.

    Attributes:
        announce: Open alerts to announce, the most severe first.
        recover: Announced alerts whose end is to be announced.
        continued: Pairs of an announced alert that ended and the open one of the same source and timeframe: it goes
            on, and nobody is told.
    """

    announce: list[AlertRecord] = field(default_factory=list)
    recover: list[AlertRecord] = field(default_factory=list)
    continued: list[tuple[AlertRecord, AlertRecord]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.announce or self.recover or self.continued)


def decide(
    records: Sequence[AlertRecord],
    now: datetime,
    rules: AlertRules,
    windows: Sequence[MaintenanceWindow] = (),
    covered: Collection[str] = (),
) -> Decision:
    """Decide about all alerts that are open or whose end was not announced.

    ``covered`` names sources that another open alert says the same as, which are not announced meanwhile.
    """
    decision = Decision()
    open_ones = {one.key: one for one in records if one.resolved_at is None}
    carried = set()
    for record in records:
        if record.resolved_at is None or record.announced_at is None or record.recovery_at is not None:
            continue
        same = open_ones.get(record.key)
        if same is not None and same.announced_at is None and same.key not in carried:
            carried.add(same.key)
            decision.continued.append((record, same))
        else:
            decision.recover.append(record)
    for record in open_ones.values():
        if record.key in carried or record.source in covered:
            continue
        if may_announce(record, now, rules, windows):
            decision.announce.append(record)
    decision.announce.sort(key=lambda one: (SEVERITIES.index(one.severity), one.opened_at, one.id))
    return decision


def may_announce(
    record: AlertRecord, now: datetime, rules: AlertRules, windows: Iterable[MaintenanceWindow] = ()
) -> bool:
    """Whether an open alert is announced now."""
    if SEVERITIES.index(record.severity) > SEVERITIES.index(rules.severity):
        return False
    if record.first_look is None or now - record.first_look < rules.between_looks:
        return False
    if record.muted_until is not None and now < record.muted_until:
        return False
    if any(in_window(record.source, now, window) for window in windows):
        return False
    if record.last_message is not None and now - record.last_message < rules.quiet:
        return False
    if record.announced_at is None:
        return True
    again = rules.remind is not None and now - record.announced_at >= rules.remind
    return again and record.acknowledged_at is None


def in_window(source: str, now: datetime, window: MaintenanceWindow) -> bool:
    """Whether an alert of ``source`` falls into the maintenance window at ``now``."""
    return window.starts_at <= now < window.ends_at and fnmatchcase(source, window.source)
