"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.errors import BadInput

if TYPE_CHECKING:
    from crypto_pipeline.market.timeframes import Timeframe

_PREFIX = "CRYPTO_PIPELINE_"


def setting(option: str, name: str, text: str, metavar: str | None = None) -> Any:
    """An option that gives the setting ``name``, which its environment variable gives as well; ``text`` is its help."""
    return typer.Option(option, envvar=f"{_PREFIX}{name.upper()}", help=text, metavar=metavar)


DataDir = Annotated[
    Path | None, setting("--data-dir", "data_dir", "Where everything is stored. Default: ~/.crypto_pipeline")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
Instruments = Annotated[
    str | None,
    typer.Option("--instruments", metavar="LIST", help="For example BTC-USDT,ETH-USDT. Default: every active one."),
]
Timeframes = Annotated[
    str | None, typer.Option("--timeframe", metavar="LIST", help="For example 1m,1h. Default: all of them.")
]
Start = Annotated[
    str | None, typer.Option("--start", help="First moment, ISO 8601 with zone: 2026-01-31 or 2026-01-31T12:00Z")
]
End = Annotated[str | None, typer.Option("--end", help="First moment no longer included. Default: now.")]


def moment(text: str, option: str) -> datetime:
    """Parse a time (ISO 8601, to UTC). Raises BadInput that names ``option``."""
    from crypto_pipeline.market.timeframes import parse_time

    try:
        return parse_time(text.strip())
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def duration(text: str, option: str) -> timedelta:
    """Parse a length of time: ``90s``, ``30m``, ``2h`` or ``1d``. Raises BadInput that names ``option``."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if unit not in units or not number.isascii() or not number.isdigit() or not 0 < int(number) < 100_000:
        raise BadInput(f"{option} {text!r}: give a length of time as 30m, 2h or 1d")
    return timedelta(**{units[unit]: int(number)})


def bounds(start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """Parse start and end (UTC), None if not given. Raises BadInput when the span is empty."""
    first = moment(start, "--start") if start else None
    last = moment(end, "--end") if end else None
    if first is not None and last is not None:
        _something_between(first, last)
    return first, last


def span(start: str | None, end: str | None, now: datetime, usual: timedelta) -> tuple[datetime, datetime]:
    """The span [start, end) of two options, in UTC. Defaults: ``end`` is the market's ``now``, the length is ``usual``.

    Raises BadInput when the span is empty or its end is before its start.
    """
    first, last = bounds(start, end)
    begin, until = now - usual if first is None else first, now if last is None else last
    _something_between(begin, until)
    return begin, until


def _something_between(first: datetime, last: datetime) -> None:
    if first >= last:
        raise BadInput(
            f"--start {first:%Y-%m-%dT%H:%MZ} is not before --end {last:%Y-%m-%dT%H:%MZ}: "
            "the span [start, end) is empty; exchange them or give another one"
        )


def timeframe(text: str) -> Timeframe:
    """The timeframe called ``text``. Raises BadInput that lists all timeframes."""
    from crypto_pipeline.market.timeframes import Timeframe

    try:
        return Timeframe.parse(text.strip())
    except ValueError as error:
        raise BadInput(str(error)) from None


def timeframes(text: str | None) -> list[Timeframe] | None:
    """Parse a comma-separated list of timeframes; None means all. Raises BadInput."""
    return None if text is None else [timeframe(part) for part in _parts(text, "--timeframe")]


def known_symbols(text: str | None, known: Iterable[str]) -> list[str] | None:
    """Parse a comma-separated list of collected instruments; None means all. Raises BadInput for an unknown one."""
    if text is None:
        return None
    return same_symbols(_parts(text, "--instruments"), known)


def same_symbols(texts: Sequence[str], known: Iterable[str]) -> list[str]:
    """The collected instruments called ``texts``; case is ignored where that leaves only one candidate.

    Raises BadInput for one that is not collected, with the nearest names and the command that adds it.
    """
    from crypto_pipeline.market.instruments import find_symbol
    from crypto_pipeline.market.near_names import did_you_mean, near_names

    choices = sorted(known)
    found = []
    for text in texts:
        symbol = find_symbol(text, choices)
        if symbol is None:
            hint = did_you_mean(near_names(text, choices, cutoff=0.5))
            raise BadInput(
                f"unknown symbol {text!r}: {hint + ' ' if hint else ''}"
                "`crypto-pipeline instruments list` shows what is collected, "
                f"`crypto-pipeline instruments add {shlex.quote(text)}` adds one"
            )
        found.append(symbol)
    return found


def _parts(text: str, option: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise BadInput(f"{option} {text!r} names nothing: leave it out to mean all")
    return parts
