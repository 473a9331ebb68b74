"""``live``: current prices, bars and gaps in a table that renews itself."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store


#: A live price older than this may be older than the newest bar; bars are then searched this far back.
_QUIET, _RECENT = timedelta(minutes=2), timedelta(hours=2)


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

    settings = deployment_settings(data_dir)
    if running_state(Places(settings.data_dir)) is None:
        _say_nothing_runs(settings)
    with open_store(settings) as store:
        if as_json:
            print_json(now(store).to_dicts())
            return
        if once or not console().is_terminal:
            console().print(table(now(store), store.clock.lately()))
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


def now(store: Store) -> pl.DataFrame:
    """One row per active instrument: ``last_price``, its ``age_s`` (seconds), ``source``, ``bars`` and ``holes``.

    The price is that of the last trade, or of the newest bar if that is newer; ``source`` says which, and its venue.
    ``bars`` and ``holes`` count the current UTC day. The instruments of one ``venue`` stand together.
    """
    import polars as pl

    from crypto_pipeline.market import Timeframe

    moment = store.clock.now()
    active = [row.instrument for row in store.instruments.list()]
    active.sort(key=lambda one: one.venue or "")  # instruments of a venue together, in the order of their adding
    names = [one.symbol for one in active]
    prices = store.live.prices(names, [Timeframe.M1])
    trade_age = (pl.lit(moment) - pl.col("last_trade_time")).dt.total_milliseconds() / 1000
    cells = store.coverage.cells([Timeframe.M1], moment - timedelta(seconds=1), moment, names)
    today = cells.select(
        "instrument",
        pl.col("present").alias("bars"),
        (pl.col("expected") - pl.col("present") - pl.col("explained")).clip(lower_bound=0).alias("holes"),
    )
    shown = pl.DataFrame({"instrument": names}, schema={"instrument": pl.String}).join(
        prices.select("instrument", "last_price", trade_age.alias("age_s"), "source"), "instrument", how="left"
    )
    complete = _with_bars(store, shown, moment).join(today, on="instrument", how="left", maintain_order="left")
    return complete.with_columns(pl.Series("venue", [one.venue for one in active], pl.String))


def _with_bars(store: Store, shown: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Use the newest bar's price where no trade was streamed lately; the bar came by REST or from a substitute
    venue.
    """
    import polars as pl

    from crypto_pipeline.market import Timeframe

    quiet = shown.filter(pl.col("age_s").is_null() | (pl.col("age_s") > _QUIET.total_seconds()))
    if quiet.is_empty():
        return shown
    bars = store.reader.read(quiet["instrument"].to_list(), Timeframe.M1, moment - _RECENT, moment)
    ended = pl.col("open_time") + Timeframe.M1.delta
    newest = (
        bars.group_by("instrument")
        .last()
        .select(
            "instrument",
            pl.col("close").alias("bar_price"),
            ((pl.lit(moment) - ended).dt.total_milliseconds() / 1000).alias("bar_age"),
            pl.col("source").alias("bar_source"),
        )
    )
    newer = pl.col("bar_age").is_not_null() & (pl.col("age_s").is_null() | (pl.col("bar_age") < pl.col("age_s")))

    def better(bar: str, live: str) -> pl.Expr:
        return pl.when(newer).then(pl.col(bar)).otherwise(pl.col(live)).alias(live)

    joined = shown.join(newest, on="instrument", how="left", maintain_order="left")
    both = better("bar_price", "last_price"), better("bar_age", "age_s"), better("bar_source", "source")
    return joined.select("instrument", *both)


def table(frame: pl.DataFrame, moment: datetime) -> Table:
    """The frame of ``now`` for people; ``moment`` is the market's time (UTC). Old prices and open gaps are red."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), caption=f"{moment:%Y-%m-%d %H:%M:%S} UTC")
    for name in frame.columns:
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
    from crypto_pipeline.store import StoreError

    try:
        return table(now(store), store.clock.lately())
    except StoreError as error:
        return f"the database does not answer now: {error}"
