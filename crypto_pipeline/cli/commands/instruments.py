"""``instruments``: list, add and remove collected instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.venues import Listing

Force = Annotated[bool, typer.Option("--force", help="Add them without asking the venue whether it lists them.")]
Symbols = Annotated[
    list[str],
    typer.Argument(
        metavar="SYMBOL…", help="BASE-QUOTE, for example BTC-USDT; BTC-USDT@kraken for that of one venue; or a ticker"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_commands(app, "instruments", "Collected instruments: list, add, remove.", list=list_, add=add, remove=remove)


def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are no longer collected.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List the collected instruments."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, table

    with open_store(deployment_settings(data_dir)) as store:
        rows = store.instruments.list(active_only=not everything)
    found = [
        {
            "symbol": row.instrument.symbol,
            "venue": row.instrument.venue,
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
        columns = ["symbol", "venue", "class", "tier", "active", "added_at"]
        table("", columns, [[row[column] for column in columns] for row in found])


def add(symbols: Symbols, force: Force = False, data_dir: DataDir = None) -> None:
    """Collect more instruments. The venue must list them; `up` then fetches their history by itself."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.healing.additions import additions, of_venues, unasked
    from crypto_pipeline.market.universe import load_universe
    from crypto_pipeline.venues import collected_venues, traits_of

    settings = deployment_settings(data_dir)
    try:
        universe, venues = load_universe(settings.universe_file), collected_venues(settings)
        parts = of_venues(symbols, universe, settings.venue, venues)
        kinds = {venue: traits_of(venue).asset_class for venue in parts}
        # malformed symbols are refused without asking the venue
        wanted = [each.at(venue) for venue, names in parts.items() for each in unasked(names, universe, kinds[venue])]
        if not force:
            wanted = []
            for venue, names in parts.items():
                listings = _listings(settings.at(venue), names)
                wanted += [each.at(venue) for each in additions(names, universe, venue, listings, kinds[venue])]
    except ValueError as error:
        raise BadInput(str(error)) from None
    with open_store(settings) as store:
        added = store.instruments.add([each.instrument for each in wanted])
    for each in wanted:
        symbol = each.instrument.symbol
        said = "added" if symbol in added else "is collected already"
        typer.echo(f"{symbol} {said}" + (f"; {each.remark}" if each.remark else ""))


def _listings(settings: Settings, symbols: list[str]) -> list[Listing]:
    """The listings of the venue now, and those of ``symbols`` that it no longer has."""
    import asyncio

    from crypto_pipeline.market.instruments import find_symbol, plain_name
    from crypto_pipeline.ops.errors import OpsError
    from crypto_pipeline.settings import command
    from crypto_pipeline.venues import StatesFormerListings, VenueError, make_venue

    async def ask() -> list[Listing]:
        venue = make_venue(settings)
        try:
            listings = list(await venue.listings())
            if isinstance(venue, StatesFormerListings):
                bases = [one.base for one in listings]
                gone = [name for name in map(plain_name, symbols) if find_symbol(name, bases) is None]
                listings += await venue.former_listings(gone)
            return listings
        finally:
            await venue.close()

    try:
        return asyncio.run(ask())
    except VenueError as error:
        again = command("instruments", "add", "--force", *symbols)
        raise OpsError(
            f"{settings.venue} cannot be asked whether it lists {', '.join(symbols)}: {error}; "
            f"`{again}` adds without asking"
        ) from None


def remove(symbols: Symbols, data_dir: DataDir = None) -> None:
    """Stop collecting instruments. Stored bars stay; instruments that never had a bar are deleted."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.options import same_symbols
    from crypto_pipeline.ops.host.paths import Places, running_state

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        wanted = same_symbols(symbols, [row.instrument.symbol for row in store.instruments.list(active_only=False)])
        for symbol in wanted:
            store.instruments.remove(symbol)
        empty = store.instruments.without_bars()
        # While `up` runs, work on an instrument may continue; a sensor deletes the instrument after it has ended.
        if running_state(Places(settings.data_dir)) is None:
            if store.instruments.forget(empty):
                store.views.refresh("instrument_summary")
            later = ""
        else:
            later = " within a minute"
    for symbol in wanted:
        kept = f"it had no bar and is deleted{later}" if symbol in empty else "its bars are kept"
        typer.echo(f"{symbol} is no longer collected; {kept}")
