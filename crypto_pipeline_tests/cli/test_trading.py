"""``portfolio`` and ``replay-trading``, and the function of the package: what they say and write, and bad input."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

import crypto_pipeline
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, stored_trading_market
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

TO = FROM + timedelta(days=2)
SPAN = ("--start", FROM.isoformat(), "--end", TO.isoformat())


@pytest.fixture
def market(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(FREQUENT))
    with Store(postgres_url) as store:
        stored_trading_market(store, 7, absent=0)
    return postgres_url


def test_a_replay_is_shown_and_written(run: Run, market: str, tmp_path: Path) -> None:
    page, trades, journal = (tmp_path / name for name in ("page.html", "trades.parquet", "a.beancount"))
    files = ("-o", str(page), "--trades", str(trades), "--journal", str(journal))
    code, out, _ = run("replay-trading", *SPAN, *files)
    assert code == 0, out
    assert out.startswith("Result: 10,000.00 became ")
    assert page.read_text().startswith("<!doctype html>")
    assert journal.read_text().startswith('option "title"')
    told = json.loads(run("replay-trading", *SPAN, "--json")[1])
    assert told["trades"]["trades"] == pl.read_parquet(trades).height > 10
    assert told["variant"] == "CHAMPION"

    made = crypto_pipeline.replay_trading(FROM, TO, report=tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page.read_text()
    assert set(json.loads(run("replay-trading", *SPAN, "--json", "--strategy", "swing")[1])["by_strategy"]) == {"swing"}
    fewer = crypto_pipeline.replay_trading(FROM, TO, parameters={"max_open": 1})
    assert 0 < fewer.book.figures.trades < made.book.figures.trades
    assert fewer.simulation.equity["open_trades"].max() == 1
    with pytest.raises(ValueError, match="max_opened"):
        crypto_pipeline.replay_trading(FROM, TO, parameters={"max_opened": 1})
    with pytest.raises(StoreError, match="there is no variant"):
        crypto_pipeline.replay_trading(FROM, TO, variant="NONE")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("replay-trading",), "no instrument of a tier that is traded is collected"),
        (("replay-trading", "--variant", "NONE"), "there is no variant 'NONE': use one of CHAMPION"),
        (("replay-trading", "--instruments", "NO-USDT"), "unknown symbol 'NO-USDT'"),
        (("replay-trading", "--strategy", "swing,swong"), "--strategy: unknown strategy 'swong': use one of dca"),
        (("replay-trading", "--start", "soon"), "--start"),
        (("replay-trading", "--start", "2026-02-01", "--end", "2026-01-01"), "is not before --end"),
        (("replay-trading", "--as-of", "then"), "--as-of"),
        (("replay-trading", "--trades", "trades.xls"), "name a file that ends in .parquet, .csv or .json"),
        (("portfolio", "--journal", "-"), "there is no account 'paper': nothing was traded yet"),
    ],
)
def test_bad_input_is_one_clear_line(run: Run, postgres_url: str, words: tuple[str, ...], said: str) -> None:
    code, _, error = run(*words, DATABASE_URL=postgres_url)
    assert code != 0
    assert said in error
    assert len(error.strip().splitlines()) == 1, error


def test_before_anything_was_traded(run: Run, postgres_url: str) -> None:
    code, out, _ = run("portfolio", DATABASE_URL=postgres_url)
    assert code == 0
    assert "account paper: 10,000.00 USDT, nothing is booked yet" in out
    assert json.loads(run("portfolio", "--json")[1])["as_of"] is None
