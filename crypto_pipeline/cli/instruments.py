"""``instruments``: what is collected."""

from __future__ import annotations

from typing import Annotated

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

Symbols = Annotated[list[str], typer.Argument(metavar="SYMBOL…", help="BASE-QUOTE, for example BTC-USDT")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="What is collected.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(add)
    group.command()(remove)
    app.add_typer(group, name="instruments")


def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are no longer collected.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Instruments that are collected."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, table

    with open_store(deployment_settings(data_dir)) as store:
        rows = store.instruments.list(active_only=not everything)
    found = [
        {
            "symbol": row.instrument.symbol,
            "class": str(row.instrument.asset_class),
            "tier": str(row.instrument.tier),
            "active": row.active,
            "added_at": row.added_at,
        }
        for row in rows
    ]
    if as_json:
        print_json(found)
    else:
        columns = ["symbol", "class", "tier", "active", "added_at"]
        table("", columns, [[row[column] for column in columns] for row in found])


def add(symbols: Symbols, data_dir: DataDir = None) -> None:
    """Collect these as well; their history is fetched by itself while `up` runs."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.market import Instrument
    from crypto_pipeline.market.universe import load_universe

    settings = deployment_settings(data_dir)
    universe = {instrument.symbol: instrument for instrument in load_universe(settings.universe_file)}
    try:
        wanted = [universe.get(symbol.upper()) or Instrument.crypto(symbol.upper()) for symbol in symbols]
    except ValueError as error:
        raise BadInput(str(error).splitlines()[0]) from None
    with open_store(settings) as store:
        added = store.instruments.add(wanted)
    for instrument in wanted:
        typer.echo(f"{instrument.symbol} {'added' if instrument.symbol in added else 'is collected already'}")


def remove(symbols: Symbols, data_dir: DataDir = None) -> None:
    """Collect these no longer. What is stored stays."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.options import check_symbols

    wanted = [symbol.upper() for symbol in symbols]
    with open_store(deployment_settings(data_dir)) as store:
        check_symbols(wanted, [row.instrument.symbol for row in store.instruments.list(active_only=False)])
        for symbol in wanted:
            store.instruments.remove(symbol)
            typer.echo(f"{symbol} is no longer collected; its bars are kept")
