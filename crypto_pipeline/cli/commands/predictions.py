"""``predict``: what the models say of an instrument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store

#: Contributions that a person is shown.
_STRONGEST = 5

Symbol = Annotated[str, typer.Argument(metavar="SYMBOL", help="For example BTC-USDT")]
Last = Annotated[int, typer.Option("--last", min=1, max=1000, help="So many of the newest predictions.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(predict)


def predict(symbol: Symbol, last: Last = 5, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show the newest predictions of an instrument with what contributed to them.

    A setup of the last closed bar that has none yet is predicted now, and stored.
    """
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.models.stored.shown import shown_prediction

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        known = [row.instrument.symbol for row in store.instruments.list()]
        name = options.same_symbols([symbol], known)[0]
        made = _predict_now(store, settings, name)
        rows = [shown_prediction(*each) for each in store.models.predictions.read([name], limit=last)]
        champions = store.models.champions()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        _print(row)
    if not champions:
        typer.echo("no strategy has a model in use: the rules alone decide (`crypto-pipeline models list`)")
    elif not made:
        typer.echo(f"no setup of {', '.join(sorted(champions))} on the last closed bar of {name} without a prediction")


def _predict_now(store: Store, settings: Settings, name: str) -> int:
    """Predict the setups of the last closed bar; returns how many were stored."""
    from crypto_pipeline.labels.strategies.base import TIMEFRAME
    from crypto_pipeline.models.stored.champions import Champions
    from crypto_pipeline.models.stored.predictions import predict_span

    now = store.clock.now()
    until = TIMEFRAME.floor(now)
    return len(predict_span(store, settings, Champions(), until - TIMEFRAME.delta, until, now=now, instruments=[name]))


def _print(row: dict[str, Any]) -> None:
    head = f"{row['signal_ts']:%Y-%m-%d %H:%M} {row['instrument']} {row['strategy']}"
    if row["refused"] is not None:
        typer.echo(f"{head}: refused ({row['refused']}): {row['refusal']}; the rules alone decide")
        return
    typer.echo(
        f"{head}: probability {row['probability']:.4f}, break-even {row['p_star']:.4f}; {row['ml_mode']}: "
        f"{row['decision']}, size × {row['size_factor']:.2f} (model {row['model_id']})"
    )
    for name, value in list((row["contributions"] or {}).items())[:_STRONGEST]:
        typer.echo(f"    {value:+.4f} {name} = {row['inputs'].get(name)}")
