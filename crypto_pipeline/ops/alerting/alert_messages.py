"""Messages about alerts: that they are open, that they are over, several in one, and a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crypto_pipeline.ops.alerting.advice import advice_for, runbook_for, unit_of
from crypto_pipeline.ops.alerting.messages import (
    RECOVERED,
    SYMBOLS,
    Announcement,
    Block,
    cut,
    divider,
    escaped,
    fields,
    header,
    length_text,
    moment_text,
    section,
    small_print,
    within_limits,
)
from crypto_pipeline.store.operations.notifications.alerts import AlertRecord

#: Alerts that one message describes in full; further ones get a line each.
_IN_FULL = 5
#: Lines of one message about further alerts.
_LINES = 60


@dataclass(frozen=True, slots=True)
class Sender:
    """What every message says of its origin: the name of the deployment, and where the runbook is read."""

    deployment: str
    runbook: str = ""

    def page(self, anchor: str) -> str:
        """The runbook's page and anchor as people open it: below the address of the docs, if there is one."""
        return f"{self.runbook.rstrip('/')}/{anchor}" if self.runbook else anchor


def alert_message(alerts: Sequence[AlertRecord], now: datetime, sender: Sender) -> Announcement:
    """One message about all alerts that are announced at one look."""
    worst = alerts[0]
    still = "still " if all(one.announcements for one in alerts) else ""
    name = alert_name(worst)
    more = _and_more(len(alerts) - 1)
    title = f"{worst.severity.upper()} {still}open at {sender.deployment}: {name}{more}"
    blocks: list[Block] = [header(f"{SYMBOLS.get(worst.severity, '')} {cut(title, 120)}".strip())]
    texts = []
    for one in alerts[:_IN_FULL]:
        blocks += [*_described(one, now, sender), divider()]
        texts.append(_described_text(one, now, sender))
    if lines := [_line(one, now) for one in alerts[_IN_FULL:]]:
        blocks += _list_blocks(lines)
        texts.append("\n".join([*lines[:_LINES], *_more(lines)]))
    if hint := _hint([one.id for one in alerts[:_IN_FULL] if one.id > 0]):
        blocks.append(small_print(f"{escaped(sender.deployment)} · {hint}"))
        texts.append(hint.replace("`", ""))
    return Announcement(title, "\n\n".join(texts), worst.severity, within_limits(blocks))


def _hint(ids: Sequence[int]) -> str:
    """What a person may do about the alerts; empty where they are not in the database."""
    if not ids:
        return ""
    shown = " ".join(map(str, ids))
    mute = f"`crypto-pipeline alerts mute {shown} --for 2h`"
    return f"`crypto-pipeline alerts ack {shown}` stops reminders, {mute} any message"


def recovery_message(alerts: Sequence[AlertRecord], now: datetime, sender: Sender) -> Announcement:
    """One message about all announced alerts that are over."""
    more = _and_more(len(alerts) - 1)
    title = f"RECOVERED at {sender.deployment}: {alert_name(alerts[0])}{more}"
    lines = [_over(one) for one in alerts]
    blocks = [header(f"{RECOVERED} {cut(title, 120)}"), *_list_blocks(lines)]
    return Announcement(title, "\n".join([*lines[:_LINES], *_more(lines)]), "info", within_limits(blocks))


def collected_message(bodies: Sequence[Mapping[str, Any]]) -> Announcement:
    """One message in the place of many that were waiting: the gravest first, a line of each, the newest in full."""
    messages = [Announcement.from_body(body) for body in bodies]
    order = list(SYMBOLS)
    worst = min((one.severity for one in messages), key=lambda name: order.index(name) if name in order else 9)
    title = f"{len(messages)} messages that were waiting to be sent"
    lines = [one.title for one in messages]
    blocks = [
        header(f"{SYMBOLS.get(worst, '')} {title}".strip()),
        *_list_blocks(lines),
        divider(),
        *messages[-1].blocks,
    ]
    text = "\n".join([*lines[:_LINES], *_more(lines), "", "The newest of them:", messages[-1].whole_text])
    return Announcement(title, text, worst, within_limits(blocks))


def trial_message(channel: str, sender: Sender, now: datetime) -> Announcement:
    """A message that only shows that the channel works."""
    title = f"Test from {sender.deployment}"
    text = (
        f"Alerts and reports that go by the channel {channel} arrive here. Sent {moment_text(now)}; nothing is wrong."
    )
    return Announcement(title, text, "info", [header(title), section(escaped(text))])


def _and_more(count: int) -> str:
    """How many further alerts a title stands for."""
    return f" and {count} more alert{'s' if count > 1 else ''}" if count else ""


def alert_name(alert: AlertRecord) -> str:
    """Source and timeframe as one name."""
    return f"{alert.source} {alert.timeframe}".rstrip()


def measured(alert: AlertRecord) -> str:
    """The figure and its threshold, as far as the check has them: ``32 s (should be ≤ 20 s)``."""
    if alert.result.get("status") != "bad":  # the newest result says something else
        return ""
    figure, threshold = alert.result.get("figure"), str(alert.result.get("threshold") or "")
    shown = "" if figure is None else f"{figure:,.4g} {unit_of(alert.source)}".rstrip()
    should = f"should be {threshold}" if threshold else ""
    return f"{shown} ({should})" if shown and should else shown or should


def _described(alert: AlertRecord, now: datetime, sender: Sender) -> list[Block]:
    name = f"*{escaped(alert_name(alert))}* · {_grade(alert)}"
    facts = [(title, text) for title, text in _facts(alert, now, sender) if text]
    return [section(f"{name}\n{escaped(cut(alert.summary, 1_500))}"), fields(facts)]


def _described_text(alert: AlertRecord, now: datetime, sender: Sender) -> str:
    facts = [f"  {title}: {text}" for title, text in _facts(alert, now, sender) if text]
    first = f"{alert_name(alert)} ({_grade(alert)}): {cut(alert.summary, 1_500)}"
    return "\n".join([first, *facts])


def _facts(alert: AlertRecord, now: datetime, sender: Sender) -> list[tuple[str, str]]:
    return [
        ("Since", f"{moment_text(alert.opened_at)} ({length_text(now - alert.opened_at)})"),
        ("Measured", measured(alert)),
        ("What to do", advice_for(alert.source)),
        ("Runbook", sender.page(runbook_for(alert.source))),
        ("Acknowledged by", alert.acknowledged_by or ""),
    ]


def _grade(alert: AlertRecord) -> str:
    """The severity, and the id by which commands take the alert; one that is not in the database has none."""
    return f"{alert.severity}, alert {alert.id}" if alert.id else alert.severity


def _line(alert: AlertRecord, now: datetime) -> str:
    since = length_text(now - alert.opened_at)
    return f"{alert.severity} · {alert_name(alert)} · for {since} · {cut(alert.summary, 160)} (alert {alert.id})"


def _over(alert: AlertRecord) -> str:
    until = alert.resolved_at or alert.opened_at
    lasted = length_text(until - alert.opened_at)
    span = f"{moment_text(alert.opened_at)} to {moment_text(until)}, {lasted}"
    return f"{alert_name(alert)} is over ({span}; alert {alert.id}). It was: {cut(alert.summary, 300)}"


def _list_blocks(lines: Sequence[str]) -> list[Block]:
    """Lines as a list, in as many blocks as their length needs."""
    blocks, part = [], ""
    for line in [*lines[:_LINES], *_more(lines)]:
        item = f"• {escaped(line)}\n"
        if len(part) + len(item) > 2_900:
            blocks.append(section(part))
            part = ""
        part += item
    return [*blocks, section(part)]


def _more(lines: Sequence[str]) -> list[str]:
    return [f"… and {len(lines) - _LINES} more: see `crypto-pipeline alerts`"] if len(lines) > _LINES else []
