"""``why``: why there is a trade of an instrument, or none."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.trading.stored.scans.why import ConditionStep, ScanCounts, Why

Symbol = Annotated[str, typer.Argument(metavar="SYMBOL", help="For example BTC-USDT")]
At = Annotated[str | None, typer.Option("--at", help="Explain the last bar that had closed then. Default: the newest.")]
OfStrategy = Annotated[str | None, typer.Option("--strategy", help="Of one strategy: dca, swing, channel.")]
#: Conditions that are named as being most often in the way.
_MOST = 3


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(why)


def why(
    symbol: Symbol, at: At = None, strategy: OfStrategy = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Say why there is a trade of an instrument, or none: condition by condition, then model, risk and broker."""
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.labels.strategies.registry import Strategy
    from crypto_pipeline.trading.stored.scans.why import count, explain

    try:
        chosen = None if strategy is None else Strategy.parse(strategy)
    except ValueError as error:
        raise BadInput(str(error)) from None
    moment = None if at is None else options.moment(at, "--at")
    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        known = [row.instrument.symbol for row in store.instruments.list(active_only=False)]
        name = options.same_symbols([symbol], known)[0]
        found = explain(store, settings, name, moment, chosen)
        counts = count(store, name, found[0].signal_ts) if found else {}
    if as_json:
        print_json([asdict(one) | {"week_before": _counted(counts.get(one.strategy))} for one in found])
        return
    for one in found:
        _print(one, counts.get(one.strategy))


def _counted(counts: ScanCounts | None) -> dict[str, object] | None:
    return None if counts is None else asdict(counts)


def _print(one: Why, counts: ScanCounts | None) -> None:
    typer.echo(f"{one.instrument} {one.signal_ts:%Y-%m-%d %H:%M} UTC, {one.strategy}: {one.decision}, {one.reason}")
    if not one.stored:
        typer.echo("  no scan of this bar is stored: this is what it would say from the bars that are stored now")
    market = f"regime {one.regime or 'not known'}, stress {one.stress or 'not known'}"
    score = "" if one.confidence_score is None else f"; confidence {one.confidence_score:.2f}"
    typer.echo(f"  market: {market}{score}")
    width = max((len(step.name) for step in one.conditions), default=0)
    for step in one.conditions:
        typer.echo(f"  {'yes' if step.met else 'NO ':3} {step.name:{width}} {_figures(step)}  {step.meaning}")
    typer.echo(f"  model: {one.model}")
    typer.echo(f"  risk: {one.follow_up.risk}")
    typer.echo(f"  broker: {one.follow_up.broker}")
    if counts is not None and counts.scans:
        often = ", ".join(f"{name} ({times})" for name, times in counts.failures.most_common(_MOST) if times)
        typer.echo(
            f"  7 days before: {counts.scans} scans, {counts.takes} setups, {counts.near_misses} near misses, "
            f"{counts.unjudged} not judged{f'; most often in the way: {often}' if often else ''}"
        )


def _figures(step: ConditionStep) -> str:
    value = "not known" if step.value is None else f"{step.value:.6g}"
    margin = "" if step.margin is None else f"{step.margin:+.6g}"
    return f"{value:>12} {step.comparison:2} {step.threshold:<8.6g} {margin:>13}"
