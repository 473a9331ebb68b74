"""``up``, ``down`` and ``status``: start, stop and inspect a deployment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.errors import FAILED, NOT_RUNNING, USAGE, BadInput
from crypto_pipeline.cli.option_groups import with_groups
from crypto_pipeline.cli.options import AsJson, DataDir, setting

if TYPE_CHECKING:
    from crypto_pipeline.ops.host.paths import Places, UpState
    from crypto_pipeline.settings import Settings

_PREFIX = "CRYPTO_PIPELINE_"
_CHILD = f"{_PREFIX}DETACHED_CHILD"

WithMacro = Annotated[
    bool,
    setting(
        "--with-macro", "with_macro", "Collect five macro series too; on replay from its own FRED, else from FRED."
    ),
]
WithStocks = Annotated[
    bool,
    setting(
        "--with-stocks", "with_stocks", "Collect the ten stocks of the universe too; on replay from its own Massive."
    ),
]
Detach = Annotated[bool, setting("--detach", "detach", "Return once everything is up; stop it with `down`.")]


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """Settings of a deployment that a person may give; a field has the name of its setting."""

    ui_port: Annotated[
        str | None, setting("--ui-port", "ui_port", "Port of the Dagster UI; 0 picks a free one. [3000]", "N")
    ] = None
    replay_port: Annotated[
        str | None, setting("--replay-port", "replay_port", "Port of the replay exchange; 0 picks one. [8765]", "N")
    ] = None
    api_port: Annotated[
        str | None, setting("--api-port", "api_port", "Port of the HTTP reads; 0 picks one. [8790]", "N")
    ] = None
    host: Annotated[str | None, setting("--host", "host", "Address to listen on. [127.0.0.1]")] = None
    venue: Annotated[str | None, setting("--venue", "venue", "Venue of the bars: see `venues list`. [replay]")] = None
    instruments: Annotated[
        str | None,
        setting(
            "--instruments",
            "instruments",
            "How many, or which: BTC-USDT,ETH-USDT [8 on replay, else all]",
            "N|LIST",
        ),
    ] = None
    days: Annotated[str | None, setting("--days", "days", "Days of history. [45 on replay, else 180]", "N")] = None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command("_postgres", hidden=True)(postgres)
    app.command("_api", hidden=True)(api)


@with_groups
def up(
    deployment: DeploymentOptions,
    with_stocks: WithStocks = False,
    with_macro: WithMacro = False,
    detach: Detach = False,
    data_dir: DataDir = None,
) -> None:
    """Start everything, keep it running and fill the database. Ctrl-C stops it."""
    from crypto_pipeline.models.decision import modes
    from crypto_pipeline.ops.errors import OpsError
    from crypto_pipeline.ops.housekeeping.retention import check_look_backs
    from crypto_pipeline.ops.supervision.start.initial_instruments import chosen_instruments
    from crypto_pipeline.ops.supervision.start.recordings import check_recordings
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.trading.stored.production import settings_parameters

    settings = load_settings(data_dir=data_dir, **asdict(deployment))
    added = (stocks_given(settings) if with_stocks else {}) | (macro_given(settings) if with_macro else {})
    if added:
        settings = load_settings(data_dir=data_dir, **asdict(deployment), **added)
    try:
        chosen_instruments(settings)  # refuse an unknown symbol before anything starts
    except OpsError as error:
        raise BadInput(str(error)) from None
    check_recordings(settings)
    check_look_backs(settings)
    modes(settings.ml_mode)  # a bad one is refused before anything starts
    settings_parameters(settings)
    if detach and _CHILD not in os.environ:
        _detach(settings)
    else:
        _run(settings)


def macro_given(settings: Settings) -> dict[str, Any]:
    """Settings that ``--with-macro`` adds to those that were set."""
    from crypto_pipeline.market.macro.series import ALL_NAMED

    given = {}
    if settings.macro_series is None:
        given["macro_series"] = ALL_NAMED
    if settings.replayed and "macro_source" not in settings.model_fields_set:
        given["macro_source"] = "replay"
    return given


def stocks_given(settings: Settings) -> dict[str, Any]:
    """Settings that ``--with-stocks`` adds to those that were set."""
    given: dict[str, Any] = {}
    if settings.stocks_venue is None:
        given["stocks_venue"] = "massive"
    if settings.venue == "replay" and "massive_source" not in settings.model_fields_set:
        given["massive_source"] = "replay"
    return given


def _run(settings: Settings) -> None:
    from crypto_pipeline.cli.startup_progress import FirstMinutes
    from crypto_pipeline.ops.housekeeping.retention import describe_retention
    from crypto_pipeline.ops.supervision.guardian import Guardian
    from crypto_pipeline.ops.supervision.start.initial_instruments import chosen_instruments

    screen = FirstMinutes()
    if settings.venue != "replay":
        screen.say(describe_retention(settings, len(chosen_instruments(settings))))
    guardian = Guardian(settings, screen.say)
    guardian.run(lambda state: screen.begin(state, guardian.progress()))
    screen.say("stopped")


def _detach(settings: Settings) -> None:
    """Run ``up`` again in a session of its own and wait until everything answers."""
    from crypto_pipeline.ops.host.paths import Places, UpLock, running_state
    from crypto_pipeline.settings import command

    places = Places(settings.data_dir)
    places.make()
    log = places.logs / "up.log"
    if UpLock.holder(places) is not None:
        from crypto_pipeline.ops.supervision.guardian import already_running

        raise already_running(places)
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "crypto_pipeline.cli", *sys.argv[1:]],
            env={**os.environ, _CHILD: "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        state = _await(lambda: _healthy(running_state(places), child.pid), child)
    except KeyboardInterrupt:
        child.terminate()
        raise
    if state is None:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it left no message"]
        typer.echo(
            next((line for line in reversed(lines) if line.startswith("error:")), f"error: {lines[-1]}"), err=True
        )
        raise typer.Exit(child.returncode or 1)
    for name, url in state.urls.items():
        typer.echo(f"{name:<8} {url}")
    typer.echo(f"log      {log}\nstop     {command('down', '--data-dir', settings.data_dir)}")


def _healthy(state: UpState | None, pid: int) -> UpState | None:
    return state if state is not None and state.pid == pid and state.phase == "healthy" else None


def _await(look: Callable[[], UpState | None], child: subprocess.Popen[bytes]) -> UpState | None:
    while child.poll() is None:
        if found := look():
            return found
        time.sleep(0.2)
    return None


def down(data_dir: DataDir = None) -> None:
    """Stop everything that `up` started on this data directory."""
    from crypto_pipeline.ops.host.paths import Places, UpLock, running_state
    from crypto_pipeline.ops.host.processes import end, marked
    from crypto_pipeline.settings import load_settings

    places = Places(load_settings(data_dir=data_dir).data_dir)
    state = running_state(places)
    if state is not None:
        os.kill(state.pid, signal.SIGTERM)
        if not _released(places, UpLock):
            raise BadInput(
                f"process {state.pid} does not stop: look at {places.logs}, then end it with kill -9 {state.pid}"
            )
    left = marked(places.data_dir, places.deployment()) if places.run.exists() else []
    if left:
        end(left, signal.SIGINT, 20.0)
    if state is None and not left:
        typer.echo(f"nothing runs on {places.data_dir}")
        return
    typer.echo(f"stopped on {places.data_dir}")


def _released(places: Places, lock: Any) -> bool:
    deadline = time.monotonic() + 120
    while lock.holder(places) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show which programs run, what is stored and what is missing.

    Exit code 3 when nothing runs, 1 when a program or the database does not answer.
    """
    from crypto_pipeline.cli.context import deployment_settings
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.cli.status import print_status
    from crypto_pipeline.ops.status import gather

    found = gather(deployment_settings(data_dir))
    if as_json:
        print_json(found)
    else:
        print_status(found)
    if not found["running"]:
        raise typer.Exit(NOT_RUNNING)
    if not (found["healthy"] and found["database"]["reachable"]):
        raise typer.Exit(FAILED)


def postgres(data_dir: DataDir = None) -> None:
    """Run the embedded PostgreSQL in this process. For the supervisor."""
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.store.embedded.server import EmbeddedServer

    if data_dir is not None and not Path(data_dir).is_absolute():
        raise typer.Exit(USAGE)
    EmbeddedServer(load_settings(data_dir=data_dir).data_dir).exec_server(die_with_parent=True)


def api(data_dir: DataDir = None, port: Annotated[int | None, typer.Option("--port")] = None) -> None:
    """Serve HTTP reads. For the supervisor."""
    from crypto_pipeline.api.serve import serve
    from crypto_pipeline.ops.host.memory import release_memory_regularly
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.store.database_url import resolve_url

    release_memory_regularly()
    settings = load_settings(data_dir=data_dir, api_port=port)
    serve(settings, resolve_url(settings))
