"""When alerts are announced, over random histories of one deployment: looks every 15 s, alerts that come and go.

The model here does with plain objects what the store does with rows.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.ops.alerting.policy import AlertRules, decide
from crypto_pipeline.store.operations.notifications.alerts import AlertRecord, MaintenanceWindow

START = datetime(2026, 3, 1, tzinfo=UTC)
LOOK = timedelta(seconds=15)
HOUR = timedelta(hours=1)


def alert(number: int, source: str = "ingest", severity: str = "error", opened: datetime = START) -> AlertRecord:
    return AlertRecord(
        number, source, "", severity, "it fails", {}, opened, None, None, None, 0, None, None, None, None, None, {}
    )


class Deployment:
    """Alerts of a deployment, as the database would keep them, and what was announced."""

    def __init__(self, rules: AlertRules, windows: list[MaintenanceWindow] | None = None) -> None:
        self.rules, self.windows = rules, windows or []
        self.rows: dict[int, AlertRecord] = {}
        self.now = START
        self.looks = 0
        self.announced: list[tuple[datetime, AlertRecord]] = []
        self.recovered: list[tuple[datetime, AlertRecord]] = []
        #: At which looks each row was seen open.
        self.seen: dict[int, list[int]] = defaultdict(list)

    def open_row(self, source: str) -> AlertRecord | None:
        return next((one for one in self.rows.values() if one.source == source and one.resolved_at is None), None)

    def set(self, source: str, failing: bool, severity: str = "error") -> None:
        row = self.open_row(source)
        if failing and row is None:
            number = len(self.rows) + 1
            self.rows[number] = alert(number, source, severity, self.now)
        elif not failing and row is not None:
            self.rows[row.id] = replace(row, resolved_at=self.now)

    def change(self, number: int, **values: object) -> None:
        self.rows[number] = replace(self.rows[number], **values)  # type: ignore[arg-type]

    def look(self) -> None:
        for row in list(self.rows.values()):
            if row.resolved_at is None:
                self.seen[row.id].append(self.looks)
                if row.first_look is None:
                    self.change(row.id, first_look=self.now)
        decision = decide(self._records(), self.now, self.rules, self.windows)
        for before, after in decision.continued:
            self.change(before.id, recovery_at=self.now)
            self.change(after.id, announced_at=before.announced_at, announcements=before.announcements)
        for row in decision.recover:
            self.change(row.id, recovery_at=self.now)
            self.recovered.append((self.now, row))
        for row in decision.announce:
            self.change(row.id, announced_at=self.now, announcements=row.announcements + 1)
            self.announced.append((self.now, row))
        self.looks += 1
        self.now += LOOK

    def _records(self) -> list[AlertRecord]:
        found = []
        for row in self.rows.values():
            if row.resolved_at is None or (row.announced_at is not None and row.recovery_at is None):
                same = [one for one in self.rows.values() if one.key == row.key]
                last = max((one.announced_at for one in same if one.announced_at), default=None)
                muted = max((one.muted_until for one in same if one.muted_until), default=None)
                found.append(replace(row, last_message=last, muted_until=muted))
        return found


#: Stretches of looks in which a source fails, or does not, in turn.
histories = st.lists(st.integers(1, 400), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(histories, st.sampled_from([None, timedelta(hours=2)]))
def test_an_alert_is_announced_at_most_once_an_hour_and_its_end_once(
    stretches: list[int], remind: timedelta | None
) -> None:
    deployment = Deployment(AlertRules(remind=remind))
    failing = True
    for length in stretches:
        deployment.set("ingest", failing)
        for _ in range(length):
            deployment.look()
        failing = not failing
    deployment.set("ingest", False)
    for _ in range(3):
        deployment.look()

    times = [at for at, _ in deployment.announced]
    assert all(later - earlier >= HOUR for earlier, later in itertools.pairwise(times))
    for _, row in deployment.announced:
        assert len(deployment.seen[row.id]) >= 2, "it was open at one look only"
    # every message that it is over follows one that it is open, and in the end nothing is left open for people
    events = sorted([(at, "open") for at, _ in deployment.announced] + [(at, "over") for at, _ in deployment.recovered])
    told_open = False
    for _, what in events:
        if what == "over":
            assert told_open
        told_open = what == "open"
    assert not told_open


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 500), st.integers(1, 500))
def test_a_maintenance_window_silences_and_what_lasts_is_announced_after_it(begins: int, lasts: int) -> None:
    window = MaintenanceWindow(1, "ing*", START + begins * LOOK, START + (begins + lasts) * LOOK, "")
    deployment = Deployment(AlertRules(remind=None), [window])
    deployment.set("ingest", True)
    for _ in range(begins + lasts + 3):
        deployment.look()
    ((at, _),) = deployment.announced
    assert not window.starts_at <= at < window.ends_at


def test_one_look_is_no_alert() -> None:
    deployment = Deployment(AlertRules())
    for _ in range(20):
        deployment.set("ingest", True)
        deployment.look()
        deployment.set("ingest", False)
        deployment.look()
    assert deployment.announced == []
    assert deployment.recovered == []


def test_a_mute_holds_for_the_next_row_of_the_same_alert() -> None:
    deployment = Deployment(AlertRules())
    deployment.set("ingest", True)
    deployment.look()
    deployment.change(1, muted_until=START + HOUR)
    deployment.set("ingest", False)
    deployment.look()
    deployment.set("ingest", True)
    while deployment.now < START + HOUR:
        deployment.look()
        assert deployment.announced == []
    deployment.look()
    assert [row.id for _, row in deployment.announced] == [2]


def test_an_acknowledged_alert_is_not_announced_again_but_its_end_is() -> None:
    deployment = Deployment(AlertRules(remind=2 * HOUR))
    deployment.set("ingest", True)
    for _ in range(3):
        deployment.look()
    deployment.change(1, acknowledged_at=deployment.now)
    for _ in range(4 * 240):
        deployment.look()
    assert len(deployment.announced) == 1
    deployment.set("ingest", False)
    deployment.look()
    assert len(deployment.recovered) == 1


def test_less_grave_alerts_and_covered_ones_are_not_announced() -> None:
    rows = [
        replace(alert(1, severity="warning"), first_look=START),
        replace(alert(2, "run:live_ingest", "error"), first_look=START),
        replace(alert(3, "disk_room", "critical"), first_look=START),
    ]
    decision = decide(rows, START + HOUR, AlertRules("error"), covered={"run:live_ingest"})
    assert [one.id for one in decision.announce] == [3]
