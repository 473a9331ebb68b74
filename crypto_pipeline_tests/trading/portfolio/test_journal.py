"""The journal: its syntax, all digits, and that beancount's checker accepts it and finds what is wrong."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.trading.ledger.rows import POSTING_SCHEMA
from crypto_pipeline.trading.portfolio.journal import (
    JournalError,
    JournalEvent,
    JournalPosting,
    currency_name,
    events_of,
    journal,
    journal_text,
)

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: Program of beancount, which is GPL and no part of ours: ``uv pip install beancount``, then its ``bean-check``.
CHECKER = "CRYPTO_PIPELINE_ORACLE_BEANCOUNT"


def book() -> list[JournalEvent]:
    """A deposit, and a trade with a price of 0.00000123."""
    cost, fee, units = Decimal("98.40"), Decimal("0.255840"), Decimal("80000000.000000000001")
    gain = Decimal("1.23")

    def fill(at: datetime, text: str, sign: int, paid: Decimal) -> JournalEvent:
        postings = [
            JournalPosting("cash", "USDT", -sign * paid - fee),
            JournalPosting("exchange", "USDT", sign * paid),
            JournalPosting("fees", "USDT", fee),
            JournalPosting("exchange", "PEPE", -sign * units),
            JournalPosting("position", "PEPE", sign * units, "PEPE-USDT"),
        ]
        return JournalEvent(at, text, postings, (("strategy", "dca"),))

    capital = [JournalPosting("cash", "USDT", Decimal(10_000)), JournalPosting("capital", "USDT", Decimal(-10_000))]
    return [
        JournalEvent(START, "paper capital", capital),
        fill(START, 'entry of "PEPE-USDT"', 1, cost),
        fill(START + timedelta(days=1), "exit", -1, cost + gain),
    ]


def test_it_has_every_digit_and_asserts_balances() -> None:
    text = journal_text(book(), "paper")
    assert "  Assets:Positions:PEPE-USDT  80000000.000000000001 PEPE\n" in text
    assert '2026-01-01 * "entry of \\"PEPE-USDT\\""' in text
    assert "2026-01-03 balance Assets:Cash  10000.71832 USDT\n" in text
    assert "2026-01-03 balance Assets:Positions:PEPE-USDT  0 PEPE\n" in text
    assert "2026-01-03 balance Expenses:Fees  0.51168 USDT\n" in text
    assert "E-" not in text.replace("PEPE-", "")


@pytest.mark.parametrize(("base", "written"), [("BTC", "BTC"), ("1INCH", "X1INCH"), ("brk-b", "BRK-B"), ("A_", "A")])
def test_currencies_begin_with_a_letter(base: str, written: str) -> None:
    assert currency_name(base) == written


def test_an_unknown_account_is_named() -> None:
    with pytest.raises(JournalError, match=r"'margin'.*cash, position"):
        journal_text([JournalEvent(START, "?", [JournalPosting("margin", "USDT", Decimal(0))])], "paper")


def checked(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = os.environ.get(CHECKER)
    if not program:
        pytest.skip(f"{CHECKER} is not set: the path of bean-check in an environment of its own")
    file = folder / "paper.beancount"
    file.write_text(text)
    return subprocess.run([program, str(file)], capture_output=True, text=True, timeout=60)


def test_beancount_accepts_it_and_finds_a_missing_posting(tmp_path: Path) -> None:
    text = journal_text(book(), "paper")
    said = checked(text, tmp_path)
    assert said.returncode == 0, said.stderr
    line = "  Expenses:Fees  0.25584 USDT\n"
    assert checked(text.replace(line, "", 1), tmp_path).returncode != 0
    fewer = text.replace("  Assets:Cash  10000 USDT\n", "  Assets:Cash  9999 USDT\n")
    assert checked(fewer.replace("Capital  -10000 ", "Capital  -9999 "), tmp_path).returncode != 0


def test_postings_of_the_ledger_become_events() -> None:
    rows = [
        (None, None, None, 0, START, "cash", "USDT", Decimal(10_000)),
        (None, None, None, 0, START, "capital", "USDT", Decimal(-10_000)),
        ("dca", "PEPE-USDT", START, 0, START + timedelta(minutes=15), "position", "PEPE", Decimal(3)),
        ("dca", "PEPE-USDT", START, 0, START + timedelta(minutes=15), "exchange", "PEPE", Decimal(-3)),
        ("dca", "PEPE-USDT", START, 1, START + timedelta(minutes=15), "position", "PEPE", Decimal(-3)),
        ("dca", "PEPE-USDT", START, 1, START + timedelta(minutes=15), "exchange", "PEPE", Decimal(3)),
    ]
    postings = pl.DataFrame(rows, schema=POSTING_SCHEMA, orient="row")
    events = list(events_of(postings))
    assert [(one.text, len(one.postings)) for one in events] == [
        ("capital", 2), ("dca PEPE-USDT", 2), ("dca PEPE-USDT", 2),
    ]  # fmt: skip
    assert dict(events[2].facts) == {"strategy": "dca", "signal": "2026-01-01T12:00Z", "number": "1"}
    text = journal(postings, "paper")
    assert "balance Assets:Positions:PEPE-USDT  0 PEPE" in text
    assert "  Assets:Cash  10000 USDT" in text


def test_an_empty_ledger_is_a_journal() -> None:
    assert journal(pl.DataFrame(schema=POSTING_SCHEMA), "paper") == 'option "title" "paper"\n\n\n'
