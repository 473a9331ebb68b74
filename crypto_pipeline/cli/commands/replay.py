"""``replay``: an exchange of our own, and faults to rehearse disasters with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.options import DataDir, moment

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings

_PREFIX = "CRYPTO_PIPELINE_"

Source = Annotated[
    str | None,
    typer.Option("--source", envvar=f"{_PREFIX}REPLAY_SOURCE", help="'generated', or a folder of recordings."),
]
Port = Annotated[str | None, typer.Option("--port", metavar="N", envvar=f"{_PREFIX}REPLAY_PORT", help="Port. [8765]")]
Host = Annotated[str | None, typer.Option("--host", envvar=f"{_PREFIX}HOST", help="Address. [127.0.0.1]")]
Seed = Annotated[
    str | None, typer.Option("--seed", metavar="N", envvar=f"{_PREFIX}REPLAY_SEED", help="Of a generated market.")
]
Speed = Annotated[
    str | None, typer.Option("--speed", metavar="N", envvar=f"{_PREFIX}REPLAY_SPEED", help="Of its clock.")
]
ShiftToNow = Annotated[
    bool | None,
    typer.Option("--shift-to-now", envvar=f"{_PREFIX}REPLAY_SHIFT_TO_NOW", help="By whole weeks, to end now."),
]
Now = Annotated[
    str | None,
    typer.Option(
        "--now",
        metavar="TIME",
        envvar=f"{_PREFIX}REPLAY_NOW",
        help="What its clock shows at first: 2021-05-10T12:00Z",
    ),
]
Faults = Annotated[
    Path | None, typer.Option("--faults", envvar=f"{_PREFIX}REPLAY_FAULTS", help="JSON file with faults to play.")
]
WeightLimit = Annotated[
    int,
    typer.Option("--weight-limit", metavar="N", min=1, help="Request weight per minute before it answers 429."),
]
Intensity = Annotated[
    int | None,
    typer.Option(
        "--intensity",
        metavar="N",
        envvar=f"{_PREFIX}REPLAY_INTENSITY",
        help="Times as many trades, for load tests.",
    ),
]
Captures = Annotated[
    Path | None,
    typer.Option("--captures", metavar="DIR", help="Recorded raw sessions to play back. [SOURCE/captures]"),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="An exchange of our own: recorded or generated, with faults on demand.", no_args_is_help=True
    )
    group.command()(serve)
    group.command()(fault)
    app.add_typer(group, name="replay")


def serve(
    source: Source = None,
    port: Port = None,
    host: Host = None,
    seed: Seed = None,
    speed: Speed = None,
    shift_to_now: ShiftToNow = None,
    now: Now = None,
    faults: Faults = None,
    weight_limit: WeightLimit = 6000,
    intensity: Intensity = None,
    captures: Captures = None,
    data_dir: DataDir = None,
) -> None:
    """Serve Binance's REST interface, streams and file archive from recordings or a generated market."""
    from crypto_pipeline.cli.context import deployment_settings

    settings = deployment_settings(
        data_dir,
        replay_source=source,
        replay_port=port,
        host=host,
        replay_seed=seed,
        replay_speed=speed,
        replay_shift_to_now=shift_to_now,
        replay_now=None if now is None else moment(now, "--now"),
        replay_faults=faults,
        replay_intensity=intensity,
    )
    _serve(settings, weight_limit, captures)


def _serve(settings: Settings, weight_limit: int, captures: Path | None) -> None:
    """Serve until a signal ends it, with the clock and token that the data directory keeps."""
    from crypto_pipeline.ops.host.paths import Places
    from crypto_pipeline.ops.replay_clock import replay_clock, shifted_at
    from crypto_pipeline.ops.supervision.initial_instruments import generated_symbols
    from crypto_pipeline.replay import serve as run

    places = Places(settings.data_dir)
    places.make()
    given, wall = settings.replay_token, datetime.now(UTC)
    clock = replay_clock(settings, places, wall)
    run(
        now=None if clock is None else clock.at(wall),
        token=given.get_secret_value() if given is not None else places.replay_token(),
        allowed_hosts=settings.allowed_hosts,
        source=settings.replay_source,
        port=settings.replay_port,
        host=settings.host,
        seed=settings.replay_seed,
        speed=settings.replay_speed,
        shift_to_now=settings.replay_shift_to_now,
        shifted_at=shifted_at(settings, places, wall),
        faults_file=settings.replay_faults,
        instruments=generated_symbols(settings) if settings.replay_source == "generated" else None,
        weight_limit=weight_limit,
        intensity=settings.replay_intensity,
        captures=captures,
    )


def fault(
    script: Annotated[
        str, typer.Argument(metavar="JSON|FILE|clear", help="A fault or list of faults; `clear` ends all.")
    ],
    url: Annotated[str | None, typer.Option("--url", help="Of the exchange. Default: the one that runs here.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make the running replay exchange fail on purpose."""
    from crypto_pipeline.addresses import base_url
    from crypto_pipeline.cli.context import deployment_settings
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.ops.host.paths import Places
    from crypto_pipeline.ops.supervision.health import request

    settings = deployment_settings(data_dir)
    address = (url or base_url(settings.host, settings.replay_port)).rstrip("/")
    given, places = settings.replay_token, Places(settings.data_dir)
    token = given.get_secret_value() if given is not None else places.replay_token() if places.run.exists() else ""
    body = None if script == "clear" else _faults(script)
    method = "DELETE" if body is None else "POST"
    try:
        code, answer = request(method, f"{address}/_control/faults", body, token=token)
    except OSError as error:
        raise BadInput(
            f"no replay exchange answers at {address} ({error}): start one with `crypto-pipeline up` or "
            "`crypto-pipeline replay serve`, or name it with --url"
        ) from None
    if code >= 300:
        raise BadInput(f"the replay exchange refuses the faults: {answer.decode(errors='replace')}")
    typer.echo(answer.decode(errors="replace") or "done")


def _faults(script: str) -> Any:
    import json

    from crypto_pipeline.cli.errors import BadInput

    text = script if script.lstrip().startswith(("{", "[")) else _file(script)
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"the faults are not JSON: {error}") from None


def _file(name: str) -> str:
    from crypto_pipeline.cli.errors import BadInput

    try:
        return Path(name).read_text()
    except OSError as error:
        raise BadInput(f"cannot read the faults from {name!r}: {error.strerror}") from None
