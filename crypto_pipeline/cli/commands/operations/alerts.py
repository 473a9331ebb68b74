"""``alerts``: open alerts, grouped by cause; acknowledging, muting, maintenance windows, and a test of the channels."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.ops.alerting.groups import AlertGroup
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store.operations.notifications.alerts import AlertRecord

Ids = Annotated[list[int], typer.Argument(help="Ids of alerts, as `alerts` shows them.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(
        app, "alerts", alerts, list=list_alerts, ack=acknowledge, mute=mute, window=window, test=try_channels
    )  # fmt: skip


def alerts(context: typer.Context, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List open alerts, grouped by cause. Exit code 1 when there are any."""
    if context.invoked_subcommand is None:
        list_alerts(as_json, data_dir)


def list_alerts(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List open alerts, grouped by cause. Exit code 1 when there are any."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import console, print_json
    from crypto_pipeline.ops.alerting.groups import alert_groups
    from crypto_pipeline.store.operations.notifications.alerts import AlertRecords

    with open_store(deployment_settings(data_dir)) as store:
        groups = alert_groups(store)
        records = {one.id: one for one in AlertRecords(store.connections).open_records()}
    if as_json:
        print_json([group.as_dict() for group in groups])
    elif not groups:
        typer.echo("no alert is open")
    else:
        out = console()
        width = min(out.width, 120)
        for group in groups:
            out.print(_text(group, records, width), markup=False, soft_wrap=True)
    if groups:
        raise typer.Exit(1)


def acknowledge(
    ids: Ids,
    by: Annotated[str | None, typer.Option(help="Who works on it. Default: the user of this machine.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Say that you work on alerts: they are sent no more until they are over. They stay open."""
    import getpass

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.store.operations.notifications.alerts import AlertRecords

    with open_store(deployment_settings(data_dir)) as store:
        who = by or getpass.getuser()
        done = AlertRecords(store.connections).acknowledge(ids, who)
    _require(ids, done)
    typer.echo(f"{who} works on alert {', '.join(map(str, done))}: no reminder is sent; its end will be")


def mute(
    ids: Ids,
    length: Annotated[str | None, typer.Option("--for", metavar="LENGTH", help="For example 30m, 2h or 1d.")] = None,
    off: Annotated[bool, typer.Option("--off", help="End the mute.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Send nothing about what these alerts are about for a while, also where it ends and begins again."""
    from datetime import UTC, datetime

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.options import duration
    from crypto_pipeline.store.operations.notifications.alerts import AlertRecords

    if (length is None) is not off:
        raise BadInput("say for how long, --for 2h, or end the mute with --off")
    until = None if length is None else datetime.now(UTC) + duration(length, "--for")
    with open_store(deployment_settings(data_dir)) as store:
        done = AlertRecords(store.connections).mute(ids, until)
    _require(ids, done)
    how = "are sent again" if until is None else f"are muted until {until:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"messages about alert {', '.join(map(str, done))} {how}")


def window(
    length: Annotated[
        str | None, typer.Option("--for", metavar="LENGTH", help="Add a window of this length: 30m, 2h or 1d.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="When it begins, ISO 8601 with zone. Default: now.")] = None,
    source: Annotated[str, typer.Option(help="Only alerts of this source; * stands for any text.")] = "*",
    reason: Annotated[str, typer.Option(help="For people.")] = "",
    end: Annotated[int | None, typer.Option(metavar="ID", help="End this window now.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Maintenance windows, in which alerts are not sent: add one, end one, or list them."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.options import duration, moment
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.store.operations.notifications.alerts import AlertRecords

    now = datetime.now(UTC)
    with open_store(deployment_settings(data_dir)) as store:
        records = AlertRecords(store.connections)
        if length is not None:
            begin = moment(start, "--start") if start else now
            records.add_window(source, begin, begin + duration(length, "--for"), reason)
        if end is not None and not records.end_window(end, now):
            raise BadInput(f"--end {end}: there is no such window; `crypto-pipeline alerts window` lists them")
        windows = records.windows(now)
    if as_json:
        print_json([asdict(one) for one in windows])
    elif not windows:
        typer.echo("no maintenance window is planned")
    else:
        for one in windows:
            why = f"  {one.reason}" if one.reason else ""
            typer.echo(
                f"{one.id:>4}  {one.starts_at:%Y-%m-%d %H:%M} – {one.ends_at:%Y-%m-%d %H:%M}Z  {one.source}{why}"
            )


def try_channels(data_dir: DataDir = None) -> None:
    """Send a test through every channel and say what each answered. Exit code 1 when one does not take it."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.ops.alerting.channel_test import send_test
    from crypto_pipeline.ops.alerting.channels.registry import configured_channels
    from crypto_pipeline.ops.alerting.configuration import sender_of

    settings = deployment_settings(data_dir)
    channels = configured_channels(settings)
    if not channels:
        raise BadInput(
            "no channel is set: give CRYPTO_PIPELINE_SLACK_WEBHOOK, or CRYPTO_PIPELINE_SLACK_TOKEN with "
            f"CRYPTO_PIPELINE_SLACK_CHANNEL, or CRYPTO_PIPELINE_APPRISE_URLS{_channels_elsewhere(settings)}"
        )
    with open_store(settings) as store:
        results = [(channel.name, send_test(store.connections, channel, sender_of(settings))) for channel in channels]
    for name, result in results:
        typer.echo(f"{name:<22} {result.state}: {result.detail}")
    if any(result.state != "sent" for _, result in results):
        raise typer.Exit(1)


def _channels_elsewhere(settings: Settings) -> str:
    """A sentence about the channels that the running deployment sends through; empty where none is known."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.store import StoreError
    from crypto_pipeline.store.operations.notifications.outbox import Outbox

    try:
        with open_store(settings) as store:
            names = [one.name for one in Outbox(store.connections).channel_states()]
    except StoreError:
        return ""
    if not names:
        return ""
    return (
        f". The deployment itself sends through {', '.join(names)}: its settings came with the environment of "
        "`crypto-pipeline up`, and the test needs the same variables in this shell"
    )


def _require(ids: list[int], done: list[int]) -> None:
    from crypto_pipeline.cli.errors import BadInput

    if missing := [one for one in ids if one not in done]:
        raise BadInput(f"alert {missing[0]} is not open: `crypto-pipeline alerts` lists those that are")


def _text(group: AlertGroup, records: dict[int, AlertRecord], width: int) -> str:
    first = f"{group.severity.upper():<9} since {group.since:%Y-%m-%d %H:%M}Z  {group.cause}"
    lines = [textwrap.fill(first, width, subsequent_indent=" " * 10)]
    checks: dict[str, list[str]] = {}
    for alert in group.alerts:
        checks.setdefault(alert.source, []).append(alert.timeframe)
    told = "; ".join(f"{source} {', '.join(sorted(filter(None, widths)))}".strip() for source, widths in checks.items())
    count = f"{len(group.alerts)} alerts: " if len(group.alerts) > 1 else ""
    ids = ", ".join(str(one.alert_id) for one in group.alerts)
    notes = [_note(records[one.alert_id]) for one in group.alerts if one.alert_id in records]
    for text in filter(None, (f"{count}{told}", group.fix, "; ".join([f"id {ids}", *filter(None, notes)]))):
        lines.append(textwrap.fill(text, width, initial_indent=" " * 10, subsequent_indent=" " * 10))
    return "\n".join(lines)


def _note(record: AlertRecord) -> str:
    """Who works on it, and until when it is muted."""
    from datetime import UTC, datetime

    notes = [f"{record.acknowledged_by} works on {record.id}"] if record.acknowledged_at else []
    if record.muted_until is not None and record.muted_until > datetime.now(UTC):
        notes.append(f"{record.id} is muted until {record.muted_until:%Y-%m-%d %H:%M}Z")
    return "; ".join(notes)
