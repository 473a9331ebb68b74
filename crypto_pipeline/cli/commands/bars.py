"""``read``: stored bars as a table, CSV, JSON, Parquet or Arrow."""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.options import DataDir, End, Start

if TYPE_CHECKING:
    import polars as pl

    from crypto_pipeline.market.timeframes import Timeframe
    from crypto_pipeline.reading import Reader
    from crypto_pipeline.reading.query import BarOptions

_FORMS = ("table", "csv", "json", "parquet", "arrow")

Symbol = Annotated[str, typer.Argument(help="One instrument or several: BTC-USDT or BTC-USDT,ETH-USDT")]
TimeframeName = Annotated[str, typer.Argument(help="1m 5m 15m 30m 1h 4h 1d or 1w")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Bars as they were stored at that moment. Default: as they are now.")
]
Last = Annotated[
    int | None, typer.Option("--last", metavar="N", min=1, help="The newest N bars of each, instead of a start.")
]
Forming = Annotated[bool, typer.Option("--forming", help="Also bars that are incomplete or have not ended yet.")]
Fill = Annotated[
    str | None, typer.Option("--fill", metavar="flat", help="Insert flat bars where bars are absent, marked as filled.")
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="LIST",
        help="all, or for example open_time,close,vwap. Default: prices, volume, trade_count, source, complete.",
    ),
]
AdjustOption = Annotated[
    str,
    typer.Option(
        "--adjust", metavar="none|splits|all", help="Prices before splits (all: and dividends) on the basis after them."
    ),
]
SessionsOption = Annotated[
    str,
    typer.Option("--sessions", metavar="all|regular|marked", help="Of stocks: bars of extended hours too, or marked."),
]
Form = Annotated[str, typer.Option("--format", help=f"{', '.join(_FORMS)}.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write. Default: the terminal.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(read)


def read(
    symbol: Symbol,
    timeframe: TimeframeName,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    last: Last = None,
    forming: Forming = False,
    fill: Fill = None,
    columns: Columns = None,
    adjust: AdjustOption = "none",
    sessions: SessionsOption = "all",
    form: Form = "table",
    output: Output = None,
    data_dir: DataDir = None,
) -> None:
    """Print stored bars of [start, end), oldest first. Default: the last day of 1m bars, longer for wider bars."""
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import database, deployment_settings
    from crypto_pipeline.cli.output import write_frame
    from crypto_pipeline.reading import Reader
    from crypto_pipeline.reading.query import ALL

    _refuse_bad_options(form, fill, start, last)
    chosen = options.timeframe(timeframe)
    moment = options.moment(as_of, "--as-of") if as_of else None
    begin, given = options.bounds(start, end)
    options_of_bars: BarOptions = {
        "last": last, "as_of": moment, "final_only": not forming, "fill": fill, "adjust": adjust, "sessions": sessions,
        "columns": columns if columns in (None, ALL) else [name.strip() for name in columns.split(",")],
    }  # fmt: skip
    with database(deployment_settings(data_dir)) as url, Reader(url) as reader:
        symbols = options.known_symbols(symbol, reader.symbols(active_only=False)) or []
        if begin is not None and given is None:
            _refuse_future(begin, reader.now())
        frame = _answer_with_notes(reader, symbols, chosen, (begin, given), options_of_bars)
    write_frame(frame, form, output, f"{symbol} {chosen}")


def _answer_with_notes(
    reader: Reader,
    symbols: list[str],
    timeframe: Timeframe,
    span: tuple[datetime | None, datetime | None],
    chosen: BarOptions,
) -> pl.DataFrame:
    """Read the bars; print the reader's warnings as notes on stderr. BadInput for options that do not fit together."""
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.reading import AdjustmentWarning, SpanWarning, question

    with warnings.catch_warnings(record=True) as warned:
        for kind in (SpanWarning, AdjustmentWarning):
            warnings.simplefilter("always", kind)
        try:
            frame = reader.answer_or_warn(question(symbols, timeframe, *span, now=reader.now, **chosen))
        except ValueError as error:
            raise BadInput(str(error)) from None
    for each in warned:
        typer.echo(f"note: {each.message}", err=True)
    return frame


def _refuse_bad_options(form: str, fill: str | None, start: str | None, last: int | None) -> None:
    """Raise BadInput for an unknown value, or for two options that contradict each other."""
    from crypto_pipeline.cli.errors import BadInput

    if form not in _FORMS:
        raise BadInput(f"unknown format {form!r}: use one of {', '.join(_FORMS)}")
    if fill not in (None, "flat"):
        raise BadInput(f"--fill {fill!r}: give flat, or leave it out")
    if last is not None and start is not None:
        raise BadInput("--last and --start contradict each other: give one of them")


def _refuse_future(begin: datetime, now: datetime) -> None:
    """Raise BadInput if ``begin`` is later than ``now``, the venue's time (both UTC)."""
    from crypto_pipeline.cli.errors import BadInput

    if begin >= now:
        raise BadInput(f"--start {begin:%Y-%m-%dT%H:%MZ} lies in the future: it is {now:%Y-%m-%dT%H:%MZ} at the venue")
