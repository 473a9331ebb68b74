"""``portfolio``: the account, its positions and trades, and the ledger as a journal."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.store import Store

Last = Annotated[int, typer.Option("--last", min=0, max=1000, help="So many of the newest closed trades.")]
JournalFile = Annotated[
    Path | None,
    typer.Option("--journal", metavar="FILE", help="Write the ledger as a journal of beancount, - for stdout."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(portfolio)


def portfolio(last: Last = 10, journal: JournalFile = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show the account: equity, drawdown, exposure, open positions, trades by strategy and tier, fees and slippage."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.trading.stored.accounts.portfolio import PortfolioReader

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        if journal is not None:
            _write_journal(store, journal)
            return
        reader = PortfolioReader(store, settings)
        account, positions, trades = reader.portfolio(), reader.positions(), reader.trades(limit=last) if last else []
    if as_json:
        print_json({**account, "positions": positions["positions"], "newest_trades": trades})
        return
    _print_account(account)
    _print_positions(positions["positions"], account["currency"])
    _print_groups(account)
    _print_trades(trades)


def _write_journal(store: Store, target: Path) -> None:
    from crypto_pipeline.trading.stored.accounts.portfolio import stored_journal

    text = stored_journal(store)
    if str(target) == "-":
        typer.echo(text, nl=False)
        return
    target.write_text(text, "utf-8")
    typer.echo(f"{target}: check it with `bean-check {target}`")


def _print_account(account: dict[str, Any]) -> None:
    if account["as_of"] is None:
        typer.echo(
            f"account {account['account']}: {_money(account['capital'])} {account['currency']}, nothing is booked yet: "
            "the first pass over closed 15m bars is still to come"
        )
        return
    figures, trades = account["figures"], account["trades"]
    typer.echo(
        f"account {account['account']} ({account['state']}), booked up to {account['as_of']:%Y-%m-%d %H:%M}Z, "
        f"since {account['start']:%Y-%m-%d %H:%M}Z"
    )
    typer.echo(
        f"  equity {_money(account['equity'])} {account['currency']} = cash {_money(account['cash'])} + positions "
        f"{_money(account['exposure'])} ({_share(account['exposure'], account['equity'])}); began with "
        f"{_money(account['capital'])}"
    )
    typer.echo(
        f"  net profit today {_money(account['pnl_day'])}, this week {_money(account['pnl_week'])}; closed trades "
        f"{_money(trades['pnl'])} after fees {_money(trades['fees'])} and slippage {_money(trades['slippage'])}; open "
        f"{_money(account['unrealised_pnl'])}"
    )
    if figures is not None:
        typer.echo(f"  {_ratios(figures)}")


def _ratios(figures: dict[str, Any]) -> str:
    fall = figures["drawdown"]
    deepest = 0.0 if fall is None else fall["depth"]
    said = (
        f"return {figures['total_return']:+.2%} in {figures['days']:.1f} days, drawdown now "
        f"{figures['current_drawdown']:.2%}, deepest {deepest:.2%}"
    )
    names = {"annual_return": "annual return", "volatility": "volatility", "sharpe": "Sharpe", "sortino": "Sortino"}
    shares = ("annual_return", "volatility")
    told = [
        f"{words} {figures[name]:.2%}" if name in shares else f"{words} {figures[name]:.2f}"
        for name, words in names.items()
        if figures[name] is not None
    ]
    return "; ".join([said, *([", ".join(told) + " (365 days)"] if told else [])])


def _print_positions(rows: list[dict[str, Any]], currency: str) -> None:
    from crypto_pipeline.cli.output import table

    if not rows:
        typer.echo("no open position")
        return
    columns = ("strategy", "instrument", "since", "orders", "average", "price", f"value {currency}", "open profit",
               "stop", "target", "ends by")  # fmt: skip
    shown = [
        (row["strategy"], row["instrument"], row["entry_ts"], f"{row['orders_filled']} of {row['orders']}",
         row["average_price"], row["price"], _money(row["value"]), _money(row["unrealised_pnl"]),
         row["stop_loss_price"], row["take_profit_price"], row["expires"])
        for row in rows
    ]  # fmt: skip
    table("open positions", columns, shown)


def _print_groups(account: dict[str, Any]) -> None:
    from crypto_pipeline.cli.output import table

    if not account["trades"]["trades"]:
        typer.echo("no closed trade")
        return
    groups = [("all", account["trades"]), *account["by_strategy"].items(), *account["by_tier"].items()]
    columns = ("trades of", "number", "won", "net profit", "before costs", "fees", "slippage", "mean return", "hours")
    shown = [
        (name, one["trades"], f"{one['win_rate']:.1%}", *(_money(one[key]) for key in ("pnl", "gross", "fees",
         "slippage")), f"{one['expectancy']:+.3%}", round(one["mean_hours"], 1))
        for name, one in groups
    ]  # fmt: skip
    table("closed trades", columns, shown)


def _print_trades(rows: list[dict[str, Any]]) -> None:
    from crypto_pipeline.cli.output import table

    if not rows:
        return
    columns = ("strategy", "instrument", "entered", "left", "outcome", "average", "exit", "spent", "net profit", "net")
    shown = [
        (row["strategy"], row["instrument"], row["entry_ts"], row["exit_ts"], row["outcome"], row["average_price"],
         row["exit_price"], _money(row["spent"]), _money(row["pnl"]), f"{row['net_return']:+.2%}")
        for row in rows
    ]  # fmt: skip
    table("newest closed trades", columns, shown)


def _money(amount: Decimal) -> str:
    """A sum to the cent; one below a cent with three digits of its own."""
    return f"{amount:,.2f}" if not amount or abs(amount) >= Decimal("0.01") else f"{amount:.3g}"


def _share(part: Decimal, whole: Decimal) -> str:
    return f"{part / whole:.1%}" if whole else "–"
