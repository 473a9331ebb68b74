"""``replay``: the replay exchange, and faults that it plays on demand."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.option_groups import with_groups
from crypto_pipeline.cli.options import DataDir, moment, setting

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings

WeightLimit = Annotated[
    int,
    typer.Option("--weight-limit", metavar="N", min=1, help="Request weight per minute before it answers 429."),
]
Lists = Annotated[
    str,
    typer.Option(metavar="VENUE", hidden=True, help="The replay venue that this exchange is."),
]
Captures = Annotated[
    Path | None,
    typer.Option("--captures", metavar="DIR", help="Recorded raw sessions to play back. [SOURCE/captures]"),
]


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """Settings of the exchange that a person may give; a field has the name of its setting."""

    replay_source: Annotated[
        str | None, setting("--source", "replay_source", "'generated', or a folder of recordings.")
    ] = None
    replay_stocks: Annotated[
        Path | None, setting("--stocks", "replay_stocks", "Folder of LEAN's data. [generated stocks]", "DIR")
    ] = None
    replay_macro: Annotated[
        Path | None,
        setting("--macro", "replay_macro", "Folder of FRED's CSV files. [SOURCE/macro/fred, else generated]", "DIR"),
    ] = None
    replay_port: Annotated[str | None, setting("--port", "replay_port", "Port. [8765]", "N")] = None
    host: Annotated[str | None, setting("--host", "host", "Address. [127.0.0.1]")] = None
    replay_seed: Annotated[str | None, setting("--seed", "replay_seed", "Seed of a generated market.", "N")] = None
    replay_speed: Annotated[
        str | None, setting("--speed", "replay_speed", "Speed of its clock; 1 is real time.", "N")
    ] = None
    replay_shift_to_now: Annotated[
        bool | None, setting("--shift-to-now", "replay_shift_to_now", "Shift recordings by whole weeks, to end now.")
    ] = None
    replay_now: Annotated[
        str | None, setting("--now", "replay_now", "Start time of its clock: 2021-05-10T12:00Z", "TIME")
    ] = None
    replay_faults: Annotated[Path | None, setting("--faults", "replay_faults", "JSON file of faults to play.")] = None
    replay_intensity: Annotated[
        int | None, setting("--intensity", "replay_intensity", "Multiplies the number of trades, for load tests.", "N")
    ] = None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_commands(
        app,
        "replay",
        "A local exchange with a recorded or generated market, and faults on demand.",
        serve=serve,
        fault=fault,
    )


@with_groups
def serve(
    exchange: ExchangeOptions,
    weight_limit: WeightLimit = 6000,
    captures: Captures = None,
    lists: Lists = "replay",
    data_dir: DataDir = None,
) -> None:
    """Serve Binance's REST interface, streams and file archive from recordings or a generated market.

    At the same address: FRED's macro series, and Massive's stocks, generated or recorded.
    """
    from crypto_pipeline.cli.context import deployment_settings

    given = asdict(exchange)
    if exchange.replay_now is not None:
        given["replay_now"] = moment(exchange.replay_now, "--now")
    settings = deployment_settings(data_dir, **given)
    _serve(settings, weight_limit, captures, lists)


def _serve(settings: Settings, weight_limit: int, captures: Path | None, lists: str) -> None:
    """Serve until a signal, with the clock and token of the data directory."""
    from crypto_pipeline.ops.host.memory import release_memory_regularly
    from crypto_pipeline.ops.host.paths import Places
    from crypto_pipeline.ops.replay_clock import replay_clock, shifted_at, stocks_day
    from crypto_pipeline.ops.supervision.start.initial_instruments import generated_symbols
    from crypto_pipeline.replay import serve as run
    from crypto_pipeline.replay.wire.cache import drop_unused_entries

    release_memory_regularly(drop_unused_entries)
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
        instruments=generated_symbols(settings, lists) if settings.replay_source == "generated" else None,
        weight_limit=weight_limit,
        intensity=settings.replay_intensity,
        captures=captures,
        stocks_day=partial(stocks_day, settings, places),
        stocks=settings.replay_stocks,
        macro=settings.replay_macro,
    )


def fault(
    script: Annotated[
        str, typer.Argument(metavar="JSON|FILE|clear", help="A fault or list of faults; `clear` ends all.")
    ],
    url: Annotated[
        str | None, typer.Option("--url", help="URL of the exchange. Default: the one that runs here.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Send faults to the running replay exchange."""
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
