"""``venues``: which venues there are, and what one of them answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.venues.probe import Finding

#: Part of a venue's request limit that a probe may use.
_SHARE = 0.25

Name = Annotated[str, typer.Argument(metavar="NAME", help="A venue of `venues list`: kraken, or ccxt_bitstamp.")]
Symbol = Annotated[
    str | None,
    typer.Option("--instrument", "-i", help="BASE-QUOTE or the venue's own name. Default: BTC, if it has it."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_commands(app, "venues", "Venues: list them, ask one of them.", list=list_, probe=probe)


def list_(as_json: AsJson = False) -> None:
    """Every venue by name, and what is known of its data."""
    from crypto_pipeline.cli.output import print_json, say, table
    from crypto_pipeline.market.timeframes import Timeframe
    from crypto_pipeline.venue_names import CCXT, CCXT_EXTRA, ccxt_exchanges, has_stream, own_venues
    from crypto_pipeline.venues import REGISTRY, venue_entry

    rows = [
        {
            "venue": name,
            "class": str(entry.traits.asset_class),
            "stream": has_stream(name),
            "bars": [str(each) for each in Timeframe if each in entry.traits.timeframes],
            "bars_without_trades": entry.traits.states_empty_bars,
            "contiguous_ids": entry.traits.contiguous_trade_ids,
        }
        for name, entry in {**REGISTRY, **{name: venue_entry(name) for name in own_venues()}}.items()
    ]
    exchanges = [f"{CCXT}{name}" for name in ccxt_exchanges()]
    if as_json:
        print_json({"venues": rows, "ccxt": exchanges})
        return
    columns = ["venue", "class", "stream", "bars_without_trades", "contiguous_ids", "bars"]
    table("", columns, [[_shown(row[column]) for column in columns] for row in rows])
    if exchanges:
        say(f"and {len(exchanges)} exchanges of ccxt: {', '.join(exchanges)}")
    else:
        say(f"and any exchange of ccxt as {CCXT}NAME, after {CCXT_EXTRA}")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def probe(name: Name, symbol: Symbol = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Ask a venue whether it answers, its time, symbols, bars and trades. The exit code is 1 where something is bad.

    Ten to twenty requests, within the request budget of the deployment; nothing is stored.
    """
    import asyncio

    from crypto_pipeline.cli.context import deployment_settings
    from crypto_pipeline.cli.errors import FAILED, BadInput
    from crypto_pipeline.cli.output import print_json, table
    from crypto_pipeline.venue_names import refuse_unknown_venue

    settings = deployment_settings(data_dir)
    try:
        refuse_unknown_venue(name)
        findings = asyncio.run(_ask(settings.at(name), symbol))
    except ValueError as error:
        raise BadInput(str(error)) from None
    rows = [[each.check, each.found, each.verdict, each.because] for each in findings]
    columns = ["check", "found", "verdict", "because"]
    if as_json:
        print_json({"venue": name, "findings": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        table(name, columns, rows)
    if any(each.verdict == "bad" for each in findings):
        raise typer.Exit(FAILED)


async def _ask(settings: Settings, symbol: str | None) -> list[Finding]:
    """What the settings' venue answers; with the budget that processes share while `up` runs."""
    from contextlib import ExitStack

    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.defaults import replays
    from crypto_pipeline.ops.host.paths import Places, running_state
    from crypto_pipeline.venues import MemoryBudget, RequestBudget, make_venue
    from crypto_pipeline.venues.probe import CountingBudget, Probe

    gentle = settings.model_copy(update={"request_attempts": 2, "fetch_concurrency": 1})
    with ExitStack() as opened:
        shared: RequestBudget = MemoryBudget()
        if running_state(Places(settings.data_dir)) is not None:
            shared = opened.enter_context(open_store(settings)).budgets.of(settings.venue, keep=1 - _SHARE)
        else:  # a budget of this process alone
            gentle = gentle.model_copy(update={"budget_share": _SHARE * settings.budget_share})
        budget = CountingBudget(shared)
        venue = make_venue(gentle, budget)
        try:
            return await Probe(venue, budget, real_time=not replays(settings.venue)).run(symbol)
        finally:
            await venue.close()
