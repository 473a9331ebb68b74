"""The ledger as a journal in the syntax of beancount, a program for double-entry books that is not ours.

Its checker reads the file without any plug-in: every event is a transaction whose postings sum to zero in each
currency, and at the end a balance is asserted of each account, so that a posting that is missing or doubled is found
(https://beancount.github.io/docs/beancount_language_syntax.html). Times are UTC: the date of a transaction is the UTC
day, its moment stands in ``time``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from functools import reduce

import polars as pl

#: Wide enough for sums of any number of postings.
_EXACT = Context(prec=80)

#: Accounts of the ledger and where they stand in the journal; those of positions have one sub-account an instrument.
ACCOUNTS = {
    "capital": "Equity:Capital",
    "cash": "Assets:Cash",
    "position": "Assets:Positions",
    "exchange": "Equity:Exchange",
    "fees": "Expenses:Fees",
    "slippage": "Expenses:Slippage",
}


#: Columns of a frame of postings that identify the event to which a posting belongs.
_EVENT = ("moment", "strategy", "instrument", "signal_ts", "number")


class JournalError(ValueError):
    """The ledger has something that no journal can say."""


@dataclass(frozen=True, slots=True)
class JournalPosting:
    """One posting: ``amount`` of ``currency`` to an account of the ledger; ``instrument``: of a position's account."""

    account: str
    currency: str
    amount: Decimal
    instrument: str | None = None


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One event of the ledger.

    Attributes:
        at: Its moment, UTC.
        text: What happened, in a few words.
        postings: They sum to zero in each currency.
        facts: More about it, by lower-case names.
    """

    at: datetime
    text: str
    postings: Sequence[JournalPosting]
    facts: tuple[tuple[str, str], ...] = ()


def journal(postings: pl.DataFrame, title: str) -> str:
    """The whole journal of a frame of postings (``trading.ledger.rows``), events in order of their moments.

    Raises JournalError for an unknown account.
    """
    return journal_text(list(events_of(postings)), title)


def events_of(postings: pl.DataFrame) -> Iterator[JournalEvent]:
    """The events of a frame of postings, by moment; those of one moment in the order of the frame."""
    for key, rows in postings.sort("moment", maintain_order=True).group_by(_EVENT, maintain_order=True):
        moment, strategy, instrument, signal_ts, number = key
        assert isinstance(moment, datetime)
        parts = [
            JournalPosting(row["account"], row["currency"], row["amount"], instrument)
            for row in rows.select("account", "currency", "amount").iter_rows(named=True)
        ]
        if strategy is None:
            yield JournalEvent(moment, "capital", parts)
        else:
            facts = (("strategy", str(strategy)), ("signal", f"{signal_ts:%Y-%m-%dT%H:%MZ}"), ("number", str(number)))
            yield JournalEvent(moment, f"{strategy} {instrument}", parts, facts)


def journal_text(events: Sequence[JournalEvent], title: str) -> str:
    """The journal of ``events``, which are in order of time. Raises JournalError for an unknown account."""
    lines = [f'option "title" {_quoted(title)}', ""]
    opened = events[0].at.date() if events else date(2000, 1, 1)
    lines += _opened(events, opened)
    for event in events:
        lines += _transaction(event)
    if events:
        lines += _balances(events, events[-1].at.date() + timedelta(days=1))
    return "\n".join(lines) + "\n"


def account_name(posting: JournalPosting) -> str:
    """The account of a posting in the journal. Raises JournalError."""
    try:
        name = ACCOUNTS[posting.account]
    except KeyError:
        raise JournalError(
            f"the ledger has an account {posting.account!r} that the journal does not know: "
            f"it knows {', '.join(ACCOUNTS)}"
        ) from None
    if posting.account != "position" or posting.instrument is None:
        return name
    return f"{name}:{re.sub('[^A-Za-z0-9-]', '-', posting.instrument).upper()}"


def currency_name(currency: str) -> str:
    """A currency as beancount writes one: upper case, a letter first, at most 24 characters."""
    name = re.sub("[^A-Z0-9'._-]", "-", currency.upper())
    name = name if re.match("[A-Z]", name) else f"X{name}"
    return name[:24].rstrip("'._-")


def amount_text(amount: Decimal) -> str:
    """All digits of an amount, without an exponent and without zeros at the end."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _opened(events: Iterable[JournalEvent], day: date) -> Iterator[str]:
    names = {account_name(posting) for event in events for posting in event.postings}
    for name in sorted(names):
        yield f"{day} open {name}"
    yield ""


def _transaction(event: JournalEvent) -> Iterator[str]:
    yield f"{event.at.date()} * {_quoted(event.text)}"
    yield f'  time: "{event.at:%H:%M:%S.%f}"'
    for name, value in event.facts:
        yield f"  {name}: {_quoted(value)}"
    for posting in event.postings:
        yield f"  {account_name(posting)}  {amount_text(posting.amount)} {currency_name(posting.currency)}"
    yield ""


def _balances(events: Iterable[JournalEvent], day: date) -> Iterator[str]:
    """What every account holds at the end, in each of its currencies."""
    amounts: dict[tuple[str, str], list[Decimal]] = {}
    for event in events:
        for posting in event.postings:
            amounts.setdefault((account_name(posting), currency_name(posting.currency)), []).append(posting.amount)
    for (name, currency), parts in sorted(amounts.items()):
        yield f"{day} balance {name}  {amount_text(reduce(_EXACT.add, parts))} {currency}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
