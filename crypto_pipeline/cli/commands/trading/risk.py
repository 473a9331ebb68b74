"""``risk``: the limits of the paper account, and the reset of a halt."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.trading.limit_use import LimitUse

Reason = Annotated[str, typer.Option("--reason", help="Why: it is stored with the reset.")]
Person = Annotated[str | None, typer.Option("--person", help="Who decides. Default: the user of this machine.")]
#: Limits that count or measure hours; the others are parts of the equity.
_COUNTS = ("max_open", "per_instrument", "stops_in_row")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(app, "risk", risk, reset=reset)


def risk(context: typer.Context, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show each limit of the paper account: what is used, what binds, and when it lets go."""
    if context.invoked_subcommand is not None:
        return
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, table
    from crypto_pipeline.market.times import from_unix_ms
    from crypto_pipeline.trading.stored.risk_report import risk_report

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        found = risk_report(store, settings)
    if as_json:
        shown = asdict(found)
        for limit in shown["limits"]:
            limit["until"] = None if limit["until"] is None else from_unix_ms(limit["until"])
        print_json(shown)
        return
    again = "after a person's reset" if found.needs_reset else found.resumes_at and f"{found.resumes_at:%Y-%m-%d %H:%M}"
    typer.echo(
        f"{found.moment:%Y-%m-%d %H:%M} UTC: {found.state}{f', entries again {again}' if again else ''}; "
        f"equity {found.equity:,.2f}, free cash {found.free_cash:,.2f}, high water {found.high_water:,.2f}"
    )
    columns = ["limit", "instrument", "used", "allowed", "binds", "until"]
    table("", columns, [_cells(limit) for limit in found.limits])


def reset(reason: Reason, person: Person = None, data_dir: DataDir = None) -> None:
    """Reset a halt after a drawdown: the high-water mark becomes what the account is worth at its next bar."""
    import getpass

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.trading.stored.risk_report import reset_risk

    with open_store(deployment_settings(data_dir)) as store:
        moment = reset_risk(store, reason, person or getpass.getuser())
    typer.echo(f"reset: it holds from the bar that closes at {moment:%Y-%m-%d %H:%M} UTC on")


def _cells(limit: LimitUse) -> list[str]:
    from crypto_pipeline.market.times import from_unix_ms

    until = "" if limit.until is None else f"{from_unix_ms(limit.until):%Y-%m-%d %H:%M}"
    figures = [_figure(limit.limit, value) for value in (limit.used, limit.allowed)]
    return [limit.limit, limit.instrument or "", *figures, "yes" if limit.binds else "", until]


def _figure(limit: str, value: float) -> str:
    if limit in _COUNTS:
        return f"{value:.0f}"
    return f"{value:.1f} h" if limit == "cooldown" else f"{value:.2%}"
