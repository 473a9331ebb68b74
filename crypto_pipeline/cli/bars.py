"""``read``: stored bars out, in the form a person or program wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from crypto_pipeline.cli.options import DataDir, End, Start

_FORMS = ("table", "csv", "json", "parquet", "arrow")
#: What a person reads; the other forms have every column.
_IN_TABLE = ("instrument", "open_time", "open", "high", "low", "close", "volume", "trade_count", "source")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(read)


def read(
    symbol: Annotated[str, typer.Argument(help="One instrument or several: BTC-USDT or BTC-USDT,ETH-USDT")],
    timeframe: Annotated[str, typer.Argument(help="1m 5m 15m 30m 1h 4h 1d or 1w")],
    start: Start = None,
    end: End = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="What was known at that moment. Default: what is known now.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help=f"{', '.join(_FORMS)}.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write. Default: the terminal.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Stored bars of [start, end), oldest first. Default: the last day for minutes, more for wider bars."""
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.output import write_frame

    if form not in _FORMS:
        raise BadInput(f"unknown format {form!r}: use one of {', '.join(_FORMS)}")
    chosen = options.timeframe(timeframe)
    moment = options.moment(as_of, "--as-of") if as_of else None
    first, last = options.span(start, end, datetime.now(UTC) - max(chosen.delta * 100, timedelta(days=1)))
    with open_store(deployment_settings(data_dir)) as store:
        known = [row.instrument.symbol for row in store.instruments.list(active_only=False)]
        symbols = options.known_symbols(symbol, known) or []
        frame = store.reader.read(symbols, chosen, first, last, as_of=moment)
    if form == "table":
        frame = frame.select(_IN_TABLE)
    write_frame(frame, form, output, f"{symbol} {chosen}")
