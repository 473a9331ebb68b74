"""``broker``: the hand-over of taken signals to a broker, its state, comparison, and the end of its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.errors import BadInput
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store
    from crypto_pipeline.trading.brokers.port import Broker

Live = Annotated[
    str | None,
    typer.Option(
        "--live",
        metavar="I-understand",
        help="Trade with real money. No setting can say this.",
        allow_from_autoenv=False,
        show_envvar=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_commands(
        app, "broker", "Hand taken signals to a broker: orders, comparison with the venue, closing.",
        status=status, check=check, run=run, close=close,
    )  # fmt: skip


def status(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show open positions at the broker, orders by state, and the last comparison with the venue."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, table

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        outbox, name = store.trading.outbox, _name(settings)
        open_, counts, compared = outbox.handovers(name), outbox.counts(name), outbox.last_reconciliation(name)
    if as_json:
        positions = [
            {key: getattr(one, key) for key in ("instrument", "strategy", "signal_ts", "state")} for one in open_
        ]
        made = None if compared is None else {"at": compared[0], "passed": compared[1], "differences": compared[2]}
        print_json({"broker": name, "positions": positions, "orders": counts, "comparison": made})
        return
    typer.echo(f"broker {name}: {len(open_)} open positions")
    if open_:
        rows = [[one.instrument, one.strategy, one.signal_ts, one.state, one.stop_price, one.exit_at] for one in open_]
        table("", ["instrument", "strategy", "signal_ts", "state", "stop", "ends"], rows)
    if counts:
        typer.echo("orders: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    if compared is None:
        typer.echo("never compared with the venue: `crypto-pipeline broker check`")
    else:
        typer.echo(f"compared at {compared[0]:%Y-%m-%d %H:%M:%S}: {'no difference' if compared[1] else compared[2]}")


def check(data_dir: DataDir = None) -> None:
    """Compare our orders and positions with the venue's. Changes nothing there. Exit code 1 where they differ."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.trading.brokers.port import BrokerError
    from crypto_pipeline.trading.stored.order_desk import compare

    settings = deployment_settings(data_dir)
    try:
        broker = _broker(settings)
        with open_store(settings) as store:
            differences = compare(store.trading.outbox, broker)
    except BrokerError as error:
        raise BadInput(str(error)) from None
    for difference in differences:
        typer.echo(difference)
    if differences:
        raise typer.Exit(1)
    typer.echo(f"{broker.name}: no difference")


def run(live: Live = None, data_dir: DataDir = None) -> None:
    """Carry out taken signals until stopped: entries, stops that rest at the venue, exits.

    A broker on this machine (the replay exchange) needs only a key. Real money needs `--live I-understand`, a key in
    the environment, and a comparison with the venue that passes.
    """
    import logging
    import signal
    import sys
    import threading

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.trading.brokers.opt_in import require_opt_in
    from crypto_pipeline.trading.brokers.port import BrokerError
    from crypto_pipeline.trading.stored.intake import hand_over
    from crypto_pipeline.trading.stored.order_loop import OrderLoop

    settings = deployment_settings(data_dir)
    try:
        broker = _broker(settings)
        require_opt_in(broker, live)
    except BrokerError as error:
        raise BadInput(str(error)) from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def intake(store: Store) -> None:
        hand_over(store, broker.name, store.clock.now())

    with open_store(settings) as store:
        OrderLoop(store, broker, store.clock.now, opt_in=live, intake=intake).run(stop)


def close(
    reason: Annotated[str, typer.Option("--reason", help="Why: it is stored.")],
    instrument: Annotated[str | None, typer.Argument(help="Default: all of them.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Sell open positions at the market; `broker run` carries it out."""
    from crypto_pipeline.cli.context import deployment_settings, open_store

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        count = store.trading.outbox.close(_name(settings), reason, instrument)
    typer.echo(f"{count} positions are to be sold")


def _name(settings: Settings) -> str:
    from crypto_pipeline.trading.brokers.registry import broker_name

    return broker_name(settings.broker, settings.broker_url, settings.broker_connector)


def _broker(settings: Settings) -> Broker:
    import os

    from crypto_pipeline.trading.brokers.registry import make_broker

    return make_broker(settings.broker, settings.broker_url, settings.broker_connector, os.environ)
