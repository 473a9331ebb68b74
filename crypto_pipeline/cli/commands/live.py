"""``live``: current prices, bars and gaps in a table that renews itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl
    from rich.table import Table

    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store

#: Columns of the table: people see less than programs.
_SHOWN = ("instrument", "last_price", "age_s", "source", "bars", "holes", "venue", "change_24h")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(live)


def live(
    once: Annotated[bool, typer.Option("--once", help="Show it once instead of renewing it every second.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show each instrument's last price with age and source, and today's bars and gaps. Ctrl-C ends it."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import console, print_json
    from crypto_pipeline.ops.host.paths import Places, running_state
    from crypto_pipeline.reading.watchlist import watchlist

    settings = deployment_settings(data_dir)
    if running_state(Places(settings.data_dir)) is None:
        _say_nothing_runs(settings)
    with open_store(settings) as store:
        if as_json:
            print_json(watchlist(store).to_dicts())
            return
        if once or not console().is_terminal:
            console().print(table(watchlist(store), store.clock.lately()))
            return
        _renew(store)


def _say_nothing_runs(settings: Settings) -> None:
    """Exit because no price is live, unless the database is not embedded and another machine may fill it."""
    from crypto_pipeline.cli.errors import NOT_RUNNING
    from crypto_pipeline.settings import command

    up = command("up", "--data-dir", settings.data_dir)
    if settings.database_url is not None:
        typer.echo(f"nothing runs on {settings.data_dir}: prices are as old as age_s says; `{up}` collects", err=True)
        return
    typer.echo(
        f"error: nothing runs on {settings.data_dir}, so no price is live: start it with `{up}`; "
        "`crypto-pipeline read` shows what is stored",
        err=True,
    )
    raise typer.Exit(NOT_RUNNING)


def table(frame: pl.DataFrame, moment: datetime) -> Table:
    """The frame of ``watchlist`` for people; ``moment`` is the market's time (UTC). Old prices and holes are red."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), caption=f"{moment:%Y-%m-%d %H:%M:%S} UTC")
    for name in _SHOWN:
        shown.add_column(name, justify="left" if name in ("instrument", "source", "venue") else "right", no_wrap=True)
    for row in frame.iter_rows(named=True):
        shown.add_row(
            row["instrument"],
            "–" if row["last_price"] is None else f"{row['last_price']:,.8g}",
            _age(row["age_s"]),
            row["source"] or "–",
            "–" if row["bars"] is None else str(row["bars"]),
            f"[red]{row['holes']}[/red]" if row["holes"] else str(row["holes"] if row["holes"] is not None else "–"),
            row["venue"] or "–",
            "–" if row["change_24h"] is None else f"{row['change_24h']:+.2%}",
        )
    return shown


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    colour = "red" if seconds > 900 else "yellow" if seconds > 300 else ""
    text = f"{seconds:,.1f}"
    return f"[{colour}]{text}[/{colour}]" if colour else text


def _renew(store: Store) -> None:
    from rich.live import Live

    with Live(_shown(store), refresh_per_second=2, screen=False) as screen:
        while True:
            time.sleep(1)
            screen.update(_shown(store))


def _shown(store: Store) -> Any:
    from crypto_pipeline.reading.watchlist import watchlist
    from crypto_pipeline.store import StoreError

    try:
        return table(watchlist(store), store.clock.lately())
    except StoreError as error:
        return f"the database does not answer now: {error}"
