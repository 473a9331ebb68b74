"""``replay-trading``: what trading would have done in a span of stored history, with figures and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.options import AsJson, DataDir, End, Instruments, Start

if TYPE_CHECKING:
    from crypto_pipeline.labels.strategies.registry import Strategy
    from crypto_pipeline.trading.stored.replay import TradingReplay

VariantName = Annotated[str, typer.Option("--variant", help="A shadow variant, for example QUICK_EXITS.")]
Strategies = Annotated[
    str | None, typer.Option("--strategy", metavar="LIST", help="For example dca,swing. Default: all strategies.")
]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Bars and predictions as they were stored then. Default: as they are now.")
]
Page = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a page with charts (HTML).")]
TradesFile = Annotated[
    Path | None, typer.Option("--trades", metavar="FILE", help="Write the trades: .parquet, .csv or .json.")
]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", metavar="FILE", help="Write the ledger as a journal of beancount.")
]
#: Days that are replayed where no start is given.
_USUAL_DAYS = 30


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("replay-trading")(replay_trading)


def replay_trading(
    start: Start = None,
    end: End = None,
    variant: VariantName = "CHAMPION",
    instruments: Instruments = None,
    strategy: Strategies = None,
    as_of: AsOf = None,
    output: Page = None,
    trades: TradesFile = None,
    journal: JournalFile = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Trade stored history with the functions of live trading, from a new account on. Nothing is stored.

    Default: the last 30 days. A trade that is open at the end stays open, and counts with its last price.
    """
    from datetime import timedelta

    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.trading.stored.replay import replay_trading as replayed

    settings = deployment_settings(data_dir)
    moment = options.moment(as_of, "--as-of") if as_of else None
    _require_form(trades)
    strategies = _parse(strategy)
    with open_store(settings) as store:
        first, last = options.span(start, end, store.clock.now(), timedelta(days=_USUAL_DAYS))
        known = [row.instrument.symbol for row in store.instruments.list(active_only=False)]
        names = options.known_symbols(instruments, known) or ()
        made = replayed(
            store, settings, first, last, variant=variant, instruments=names, strategies=strategies, as_of=moment
        )
    _write(made, output, trades, journal)
    _show(made, as_json=as_json)


def _parse(strategies: str | None) -> list[Strategy]:
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.labels.strategies.registry import Strategy

    try:
        return [Strategy.parse(name) for name in (strategies or "").split(",") if name.strip()]
    except ValueError as error:
        raise BadInput(f"--strategy: {error}") from None


def _require_form(trades: Path | None) -> None:
    from crypto_pipeline.cli.errors import BadInput

    if trades is not None and trades.suffix not in (".parquet", ".csv", ".json"):
        raise BadInput(f"--trades {trades}: name a file that ends in .parquet, .csv or .json")


def _write(made: TradingReplay, output: Path | None, trades: Path | None, journal: Path | None) -> None:
    from crypto_pipeline.cli.output import say, write_frame

    if output is not None:
        from crypto_pipeline.ops.reports.trading_page import book_page

        output.write_text(book_page(made.book, made.title), "utf-8")
        say(f"page: {output}")
    if trades is not None:
        write_frame(made.simulation.trades, trades.suffix.removeprefix("."), trades, "trades")
        say(f"trades: {trades}")
    if journal is not None:
        journal.write_text(made.journal(), "utf-8")
        say(f"journal: {journal}")


def _show(made: TradingReplay, *, as_json: bool) -> None:
    from crypto_pipeline.cli.output import print_json

    if as_json:
        print_json(_document(made))
        return
    from crypto_pipeline.ops.reports.content import shown
    from crypto_pipeline.ops.reports.trading_page import book_sections

    for section in book_sections(made.book, charts=False):
        if section.name == "single":
            continue
        typer.echo(f"{section.title}: {section.headline}")
        for table in section.tables:
            _print_table(table.columns, [[shown(value) for value in row] for row in table.rows])


def _print_table(columns: Any, rows: list[list[str]]) -> None:
    from crypto_pipeline.cli.output import table

    table("", columns, rows)


def _document(made: TradingReplay) -> dict[str, Any]:
    book = made.book
    return {
        "variant": made.variant,
        "start": book.start,
        "end": book.end,
        "as_of": made.as_of,
        "currency": book.currency,
        "figures": book.equity_figures and book.equity_figures.as_dict(),
        "trades": book.figures.as_dict(),
        "by_strategy": {name: one.as_dict() for name, one in book.by_strategy.items()},
        "by_tier": {name: one.as_dict() for name, one in book.by_tier.items()},
        "signals": book.decisions.height,
        "rejections": dict(book.rejections.select("limit_name", "signals").iter_rows()),
        "open_positions": made.simulation.positions.height,
        "made_with": dict(book.facts),
    }
