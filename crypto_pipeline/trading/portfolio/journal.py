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
from decimal import Decimal

from crypto_pipeline.trading.portfolio.trade_figures import exact_sum

#: Accounts of the ledger and where they stand in the journal; those of positions have one sub-account an instrument.
ACCOUNTS = {
    "capital": "Equity:Capital",
    "cash": "Assets:Cash",
    "position": "Assets:Positions",
    "exchange": "Equity:Exchange",
    "fees": "Expenses:Fees",
    "slippage": "Expenses:Slippage",
}


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


def journal(events: Sequence[JournalEvent], title: str) -> str:
    """The whole journal of ``events``, which are in order of time. Raises JournalError for an unknown account."""
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
    """All digits of an amount, without an exponent."""
    return format(amount, "f")


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
        yield f"{day} balance {name}  {amount_text(exact_sum(parts))} {currency}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
