"""State of a deployment for ``status``, for the progress of ``up`` and for reports: programs, stored and missing
bars.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from crypto_pipeline.ops.checks.registry import is_operational
from crypto_pipeline.ops.host.paths import Places, UpState, running_state
from crypto_pipeline.ops.supervision import health
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store


@dataclass(frozen=True)
class Stored:
    """What the database holds, compared with what is expected."""

    timeframes: dict[str, dict[str, Any]] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    failing: list[dict[str, Any]] = field(default_factory=list)
    #: Checks of programs, queue, clocks and disk that fail.
    operational: list[dict[str, Any]] = field(default_factory=list)
    checks_passed: int = 0
    #: Number of results of a full set of checks: each check of bars on each timeframe, and each other check that ever
    #: ran.
    checks_wanted: int = 0
    #: Number of checks of bars, and of macro series where some are collected, that never ran.
    checks_not_run: int = 0
    #: Macro series of which nothing is stored yet.
    macro_waiting: list[str] = field(default_factory=list)
    #: Instruments of which the settings expect more history than has been asked for.
    history_waiting: list[str] = field(default_factory=list)
    #: How many checks of the deployment are ``ok``, ``bad`` and ``unknown``, as the API counts them; empty without its
    #: settings.
    every_check: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store, settings: Settings | None = None) -> Stored:
        """Read the figures from the database. With the ``settings`` of the deployment that runs, the history that they
        expect counts too where nothing has asked for it yet.
        """
        from crypto_pipeline.healing.checks.stored_bars import checks_of
        from crypto_pipeline.healing.macro.checks import RECORDED
        from crypto_pipeline.healing.unasked import without_history
        from crypto_pipeline.market.timeframes import Timeframe

        macro = store.macro.progress()
        every = store.checks.results().to_dicts()
        # what operational checks say is no property of the stored bars
        results = [row for row in every if not is_operational(row["check"])]
        ran = {(row["check"], row["timeframe"]) for row in results}
        required = {(check, str(timeframe)) for timeframe in Timeframe for check in checks_of(timeframe)}
        required |= {(check, "") for check in RECORDED if macro}
        passed = {(row["check"], row["timeframe"]) for row in results if row["passed"]}
        return cls(
            timeframes={row["timeframe"]: _timeframe(row) for row in store.coverage.summary().to_dicts()},
            gaps=_gap_counts(store),
            failing=[_failing(row) for row in results if not row["passed"]],
            operational=[_failing(row) for row in every if is_operational(row["check"]) and not row["passed"]],
            checks_passed=len(passed),
            checks_wanted=len(required | ran),
            checks_not_run=len(required - ran),
            macro_waiting=[name for name, stored in macro.items() if not stored],
            every_check={} if settings is None else _every_check(store, settings),
            history_waiting=[] if settings is None else sorted(without_history(store, settings)),
        )

    @property
    def expected(self) -> int:
        """Number of expected bars over all timeframes."""
        return sum(row["expected"] for row in self.timeframes.values())

    @property
    def accounted(self) -> int:
        """Number of expected bars that are present or explained."""
        return self.expected - self.missing

    @property
    def missing(self) -> int:
        """Number of expected bars that are neither present nor explained."""
        return sum(row["missing"] for row in self.timeframes.values())

    @property
    def checks_said(self) -> str:
        """How many checks have run and pass, in words: a check that has not run, or not lately, passes nothing."""
        if not self.every_check:
            return f"{self.checks_passed} of {self.checks_wanted} checks of stored data pass"
        ran, total = self.every_check["ok"] + self.every_check["bad"], sum(self.every_check.values())
        failed = self.every_check["bad"]
        if ran == total:
            return f"{total - failed} of {total} checks pass" if failed else f"all {total} checks pass"
        if ran == 0:
            return f"none of {total} checks has run yet"
        return f"{ran} of {total} checks have run, {f'of which {failed} failed' if failed else 'all of them pass'}"

    @property
    def complete(self) -> bool:
        """Whether no expected bar is missing, a full set of checks has run, and every check passes."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Sentences that say why the database is not complete; empty when it is.

        A check that questions the venue's own data is no reason: no bar is missing or wrong here. Nor is a check of
        severity info.
        """
        from crypto_pipeline.healing.checks.stored_bars import MINUTE_CHECKS

        found = []
        if self.expected == 0:
            found.append("no bar is expected yet")
        if self.missing:
            found.append(f"{self.missing:,} bars are missing")
        if self.history_waiting and self.expected:
            names = ", ".join(self.history_waiting[:3]) + (" …" if len(self.history_waiting) > 3 else "")
            found.append(f"not all history of {len(self.history_waiting)} instruments is asked for yet: {names}")
        if self.checks_not_run:
            found.append(f"{self.checks_not_run} checks have not run yet")
        if self.macro_waiting:
            found.append(f"macro series not collected yet: {', '.join(self.macro_waiting)}")
        found += [
            f"check {row['check']} {row['timeframe']}".rstrip() + f" fails: {row['summary']}"
            for row in self.failing
            if row["check"] not in MINUTE_CHECKS and row["severity"] != "info"
        ]
        return found


def _every_check(store: Store, settings: Settings) -> dict[str, int]:
    from crypto_pipeline.ops.checks.recorded import recorded_states

    found = {"ok": 0, "bad": 0, "unknown": 0}
    for state in recorded_states(store, settings):
        found[state.status] += 1
    return found


def gather(settings: Settings) -> dict[str, Any]:
    """The contents of ``status`` as a dict for JSON. A program or database that is down is reported, never raised."""
    from crypto_pipeline.venues import collected_venues

    places, venues = Places(settings.data_dir), collected_venues(settings)
    state = running_state(places)
    found: dict[str, Any] = {
        "running": state is not None,
        "healthy": False,
        "complete": False,
        "phase": state.phase if state else "stopped",
        "pid": state.pid if state else None,
        "data_dir": str(settings.data_dir),
        "venue": ", ".join(venues),
        "venues": {},
        "url": state.urls.get("ui") if state else None,
        "urls": state.urls if state else {},
        "processes": [],
        "venue_trouble": None,
        "queue_trouble": None,
        "notes": [],
    }
    if state is not None:
        asked = health.ask(settings, places, state)
        found["healthy"] = asked.healthy
        found["notes"] = [f"{name} {note}" for name, note in asked.notes.items()]
        found["venue_trouble"] = asked.troubles.get(health.VENUE)
        found["processes"] = _processes(state, asked)
    found |= _database(settings, venues, running=state is not None)
    stuck = [row["summary"] for row in found["checks"]["operational"] if row["check"] == "run_queue"]
    if state is not None and stuck:
        found |= {"healthy": False, "queue_trouble": stuck[0]}
    return found


def _processes(state: UpState, asked: health.HealthReport) -> list[dict[str, Any]]:
    from crypto_pipeline.ops.host.processes import is_alive, started_at

    def row(name: str, status: str, pid: int | None, since: float | None, trouble: str | None) -> dict[str, Any]:
        uptime = round(time.time() - since, 1) if since else None
        return {
            "name": name,
            "state": status,
            "pid": pid,
            "uptime_seconds": uptime,
            "healthy": trouble is None,
            "trouble": trouble,
        }

    trouble = asked.troubles.get("supervisord")
    pid = state.supervisord_pid
    alive = pid is not None and is_alive(pid)
    rows = [
        row("up", "RUNNING", state.pid, state.started_at, None),
        row("supervisord", "RUNNING" if alive else "EXITED", pid, started_at(pid) if pid else None, trouble),
    ]
    for info in asked.processes:
        rows.append(row(info.name, info.state, info.pid, info.started_at, asked.troubles.get(info.name)))
    return rows


def _database(settings: Settings, venues: Sequence[str], *, running: bool) -> dict[str, Any]:
    from crypto_pipeline.store import StoreError

    try:
        with _open(settings) as (url, store):
            # what nothing runs for is not asked for: then these settings need not be those of the next `up`
            stored = Stored.read(store, settings if running else None)
            described = _describe(url, store) | {"replica": _replica(settings, url)}
            of_venues = _of_venues(venues, url, store)
    except StoreError as error:
        unknown = _as_dict(Stored()) | {"incomplete_because": [f"the database does not answer: {error}"]}
        return {"database": {"reachable": False, "trouble": str(error)}, **unknown, "agreement": {}, "venues": {}}
    agreement = of_venues[venues[0]]["agreement"] if of_venues else {}
    return {"database": described, **_as_dict(stored), "agreement": agreement, "venues": of_venues}


def _of_venues(venues: Sequence[str], url: str, store: Store) -> dict[str, Any]:
    """The bars of each venue by timeframe, and the share of them that was compared with its own, and when."""
    from crypto_pipeline.healing.comparison.agreement import agreements
    from crypto_pipeline.store.schema.migrations import applied
    from crypto_pipeline.venues import traits_of

    if not {"0010.comparisons", "0016.clock", "0024.venues"} <= set(applied(url)):  # `up` has not migrated it yet
        return {}
    now, found = store.clock.now(), {}
    for venue in venues:
        compared = agreements(store, venue, traits_of(venue), now)
        found[venue] = {
            "timeframes": {row["timeframe"]: _timeframe(row) for row in store.coverage.summary(venue).to_dicts()},
            "agreement": {str(timeframe): one.as_dict() for timeframe, one in compared.items()},
        }
    return found


@contextmanager
def _open(settings: Settings) -> Iterator[tuple[str, Store]]:
    """The deployment's store for the block. Nothing is started and nothing is migrated for a question."""
    from crypto_pipeline.store import resolve_url

    url = resolve_url(settings)
    with Store(url) as store:
        yield url, store


def _describe(url: str, store: Store) -> dict[str, Any]:
    from crypto_pipeline.store.database.connect import address
    from crypto_pipeline.store.schema.migrations import applied

    versions = applied(url)
    return {
        "reachable": True,
        "market_time": store.clock.now().isoformat() if "0016.clock" in versions else None,
        "trouble": None,
        "address": address(url),
        "size_bytes": store.size_bytes(),
        "schema_version": versions[-1] if versions else None,
        "mirror": _mirror(store) if "0055.mirror_in_use" in versions else None,
    }


def _mirror(store: Store) -> dict[str, Any]:
    """The mirror's files: their number, bytes and last day (exclusive), and whether reads use them."""
    from crypto_pipeline.store.mirror.catalogue import is_in_use

    files = store.storage.mirror().to_dicts()
    until = [row["end"].isoformat() for row in files if (row["dataset"], row["series"]) == ("bars", "1m")]
    return {
        "in_use": store.connections.run(is_in_use),
        "files": sum(row["files"] for row in files),
        "bytes": sum(row["bytes"] for row in files),
        "until": until[0] if until else None,
    }


def _replica(settings: Settings, url: str) -> dict[str, Any] | None:
    """The replica that reads go to: its address, how far it is behind, and its trouble; None without one."""
    if settings.database_read_url is None:
        return None
    from crypto_pipeline.store.coordination.replica_facts import replica_facts

    facts = replica_facts(url, settings.database_read_url.get_secret_value())
    return {"address": facts.address, "lag_seconds": facts.lag, "trouble": facts.trouble}


def _as_dict(stored: Stored) -> dict[str, Any]:
    return {
        "timeframes": stored.timeframes,
        "missing": stored.missing,
        "gaps": stored.gaps,
        "checks": {
            "passed": stored.checks_passed,
            "wanted": stored.checks_wanted,
            "failing": stored.failing,
            "operational": stored.operational,
            "every": stored.every_check,
            "said": stored.checks_said,
        },
        "complete": stored.complete,
        "incomplete_because": stored.reasons,
    }


def _timeframe(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "rows": row["present"],
        "expected": row["expected"],
        "present": row["present"],
        "explained": row["explained"],
        "missing": row["missing"],
        "newest": row.get("newest"),
    }


def _failing(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("check", "timeframe", "severity", "summary")}


def _gap_counts(store: Store) -> dict[str, int]:
    states = store.ledger.open()["state"].cast(str).value_counts().iter_rows()
    return dict(sorted(states))
