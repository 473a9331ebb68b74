"""``shadow``: variants that trade beside production, the test of them, and applying one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.store import Store
    from crypto_pipeline.trading.stored.shadow.shadow_pass import ShadowReport

StrategyName = Annotated[str, typer.Argument(metavar="STRATEGY", help="dca, swing or channel")]
VariantName = Annotated[
    str | None,
    typer.Option("--variant", help="Default: the one that the newest test recommends. CHAMPION: as the settings say."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why: it is stored with the change.")]
Person = Annotated[str | None, typer.Option("--person", help="Who decides. Default: the user of this machine.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(app, "shadow", show, run=run, apply=apply)


def show(context: typer.Context, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show the variants that trade beside production: differences with 95 % intervals, and the newest test of them."""
    if context.invoked_subcommand is not None:
        return
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.trading.stored.shadow.shown import stored_report

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        _print(store, stored_report(store, settings), as_json=as_json)


def run(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Trade all variants up to now, store their ledgers, and test them where a test is due (once in 28 days)."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.trading.stored.shadow.shadow_pass import shadow_pass

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        report = shadow_pass(store, settings)
        _print(store, report, as_json=as_json)
    if report.agreement is not None and not as_json:
        typer.echo(str(report.agreement))


def apply(
    strategy: StrategyName,
    reason: Reason,
    variant: VariantName = None,
    person: Person = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Let production trade a strategy as a variant does, from the next signal on. The reason is stored with it."""
    import getpass

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.trading.stored.shadow.changes import apply_variant

    with open_store(deployment_settings(data_dir)) as store:
        made = apply_variant(
            store, strategy.lower(), reason=reason, person=person or getpass.getuser(), variant=variant
        )
    if as_json:
        print_json(asdict(made))
        return
    by = "as the newest test recommends" if made.test_id is not None else "which no test recommends"
    typer.echo(f"{made.strategy} trades as {made.variation} from the next signal on, {by}")


def _print(store: Store, report: ShadowReport, *, as_json: bool) -> None:
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.trading.stored.shadow.shown import report_dict, test_words

    if as_json:
        print_json(report_dict(store, report))
        return
    if report.because:
        typer.echo(report.because)
    _print_variants(report)
    typer.echo(f"newest test: {test_words(report.test)}")
    if report.untested:
        typer.echo(f"no test now: {report.untested}")
    for change in store.trading.shadow.in_force().values():
        since = f"{change.market_time:%Y-%m-%d %H:%M} UTC"
        typer.echo(f"{change.strategy}: {change.variation} since {since}, by {change.changed_by}: {change.reason}")


def _print_variants(report: ShadowReport) -> None:
    from crypto_pipeline.cli.output import table
    from crypto_pipeline.trading.stored.shadow.shown import comparison_rows

    if report.compared is None or report.days is None:
        return
    figures = ["net", "drawdown", "difference", "low", "high"]
    cells = [
        [*(row[name] for name in ("strategy", "variant", "trades")), *(f"{row[name]:+.3f}" for name in figures),
         f"{row['p']:.3f}", row["because"]]
        for row in comparison_rows(report.compared).iter_rows(named=True)
    ]  # fmt: skip
    head = ["strategy", "variant", "trades", "net %", "drawdown %", "a day %", "low", "high", "p", "cannot be because"]
    table(f"{report.days[0]} to {report.days[1]}, difference to production a day", head, cells)
