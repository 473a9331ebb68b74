"""Safe remedies of checks that are bad: what a person would do first, and what cannot make anything worse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crypto_pipeline.ops.checks.states import CheckState
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.paths import Places, running_state
from crypto_pipeline.ops.supervision.programs import API, CODE_SERVER, DAEMON, FORECASTS, INGEST, NOTIFIER, WEBSERVER
from crypto_pipeline.ops.supervision.supervisord import Supervisord
from crypto_pipeline.settings import Settings
from crypto_pipeline.store.database.errors import StoreError


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done about one check. ``done``: for people, one sentence."""

    check: str
    done: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"check": self.check, "done": self.done}


Remedy = Callable[[Settings, CheckState], str]
#: Bars are requested again from so far back.
_LOOK_BACK = timedelta(days=7)


def repair(settings: Settings, states: Sequence[CheckState]) -> list[Repair]:
    """Run the remedy of every check that is bad; a check without one says what a person should read.

    A remedy that fails is reported and does not keep the others from running.
    """
    found = []
    for state in states:
        if state.status != "bad":
            continue
        remedy = _REMEDIES.get(state.name)
        if remedy is None:
            found.append(Repair(state.label, f"nothing was done, a person decides: {state.runbook}"))
            continue
        try:
            found.append(Repair(state.label, remedy(settings, state)))
        except (OpsError, StoreError, OSError) as error:
            found.append(Repair(state.label, f"the remedy failed: {error}"))
    return found


def _started(program: str) -> Remedy:
    """The remedy that starts a program again."""

    def start(settings: Settings, _: CheckState) -> str:
        client = _supervisord(settings)
        again = []
        for info in client.processes():
            if not info.name.startswith(program):
                continue
            if info.running:
                client.kill(info.name)  # it runs and does not work: supervisord starts it again
            else:
                client.start(info.name)
            again.append(info.name)
        return f"started again: {', '.join(again)}" if again else f"`up` has no program {program} here"

    return start


def _supervisord(settings: Settings) -> Supervisord:
    state = running_state(Places(settings.data_dir))
    if state is None:
        raise OpsError(f"nothing runs in {settings.data_dir}: start `crypto-pipeline up`")
    return Supervisord(state.supervisor_socket)


def _heal(settings: Settings, state: CheckState) -> str:
    """Ask the venues for what is missing now, and not when the next attempt is due."""
    from crypto_pipeline.healing import Deployment
    from crypto_pipeline.healing.passes import NAMED
    from crypto_pipeline.store import Store, resolve_url
    from crypto_pipeline.venues import VenueError

    with Store(resolve_url(settings)) as store:
        end = store.clock.now()
        starts = [datetime.fromisoformat(one["start"]) for one in state.offenders if "start" in one]
        start = min([end - _LOOK_BACK, *starts])
        names = sorted({str(one["instrument"]) for one in state.offenders if "instrument" in one})

        async def run() -> Any:
            async with Deployment.open(store, settings) as deployment:
                return await deployment.backfill(start, end, names, mode=NAMED)

        try:
            report = asyncio.run(run())
        except VenueError as error:
            raise OpsError(f"the venue was asked for missing bars and did not give them: {error}") from None
    return f"bars were requested again from {start:%Y-%m-%d %H:%M} UTC on; {report.still_missing:,} are still missing"


def _backup(settings: Settings, _: CheckState) -> str:
    """Make a backup now."""
    from crypto_pipeline.ops.backups import backup
    from crypto_pipeline.store import Store, resolve_url

    url = resolve_url(settings)
    with Store(url) as store:
        made = backup.make(settings, url, store.size_bytes(), lambda text: None)
    return f"a backup was made: {made.folder}, {made.manifest.rows:,} rows"


def _start_loop(settings: Settings, state: CheckState) -> str:
    """Start the program again in which forecasts are published."""
    return _started(API if settings.api else FORECASTS)(settings, state)


_REMEDIES: dict[str, Remedy] = {
    "ingest": _started(INGEST),
    "dagster_daemon": _started(DAEMON),
    "code_server": _started(CODE_SERVER),
    "webserver": _started(WEBSERVER),
    "http_api": _started(API),
    "forecast_loop": _start_loop,
    "notifier": _started(NOTIFIER),
    "oldest_gap": _heal,
    "coverage_24h": _heal,
    "coverage_7d": _heal,
    "instruments_silent": _heal,
    "backup": _backup,
}
