"""``forecast`` and ``forecasts``: a forecast with its intervals, fitting and scoring, and how good they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.options import AsJson, DataDir, Instruments

if TYPE_CHECKING:
    from crypto_pipeline.forecasts.answer import ForecastAnswer

Symbol = Annotated[str, typer.Argument(help="An instrument or a macro series: BTC-USDT or CPI")]
HorizonName = Annotated[str, typer.Option("--horizon", help="1h: 24 hours, 1d: 7 days, 1w: 4 weeks.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(forecast)
    add_commands(
        app, "forecasts", "Forecasts: fit and publish now, and how good they were.", build=build, accuracy=accuracy
    )


def forecast(symbol: Symbol, horizon: HorizonName = "1h", as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Where a price will be: median, 80 % and 95 % interval of every step. Exit code 1 where there is none."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.forecasts.stored.reading import read_forecast
    from crypto_pipeline.store.database.errors import UnknownNameError

    with open_store(deployment_settings(data_dir)) as store:
        try:
            found = read_forecast(store, symbol, horizon)
        except (ValueError, UnknownNameError) as error:
            raise BadInput(str(error)) from None
    if as_json:
        print_json(found.document())
    else:
        _show(found)


def _show(found: ForecastAnswer) -> None:
    from crypto_pipeline.cli.output import table
    from crypto_pipeline.forecasts.answer import PRICE_NAMES

    one = found.forecast
    age = f"{found.age_s:.0f} s old{', stale' if found.stale else ''}"
    typer.echo(f"{one.series} {one.horizon}: {one.direction} from {one.price:.8g} ({one.model}; {age})")
    typer.echo(one.why)
    columns = ["step", "target", *PRICE_NAMES, "direction"]
    rows: list[list[Any]] = []
    for row in one.rows():
        rows.append([f"{row[name]:.6g}" if name in PRICE_NAMES else row[name] for name in columns])
    table("", columns, rows)


def build(instruments: Instruments = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Fit every series to its bars, publish what is due and score what has expired, as every night."""
    from dataclasses import asdict

    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.forecasts.stored.releases import score_releases
    from crypto_pipeline.forecasts.stored.scores import score_expired
    from crypto_pipeline.forecasts.stored.update import bring_up_to_date

    with open_store(deployment_settings(data_dir)) as store:
        known = [row.instrument.symbol for row in store.instruments.list()]
        report = bring_up_to_date(store, options.known_symbols(instruments, known) or [])
        now = store.clock.now()
        scored = score_expired(store, now) + score_releases(store, now)
    if as_json:
        print_json({**asdict(report), "scored": scored})
        return
    for horizon, fitted in report.fits.fitted.items():
        typer.echo(f"{horizon}: {fitted} series fitted, {report.published[horizon]} forecasts published")
    for name, why in report.fits.lacking.items():
        typer.echo(f"{name}: {why}", err=True)
    typer.echo(f"{scored} forecasts scored")


def accuracy(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """How good matured forecasts were, by horizon and step: what their intervals held, and their loss against naive."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import say, show_frame

    with open_store(deployment_settings(data_dir)) as store:
        found = store.forecasts.accuracy()
    if found.is_empty():
        say("no forecast has expired yet: nothing is known of their accuracy")
    show_frame(found, as_json, "")
