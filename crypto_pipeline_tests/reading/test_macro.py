"""Macro series for readers: with nothing of the extra ``server``, and in forked processes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime

import pytest

from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.market.macro.vintages import Availability, Vintage
from crypto_pipeline.store import Store
from crypto_pipeline_tests.reading.test_reader import _server_modules

DAY = date(2026, 2, 11)


@pytest.fixture
def url(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    with Store(postgres_url) as store:
        store.macro.choose(choose_series("CPI"))
        known = Availability("America/Chicago", datetime(2026, 3, 18, tzinfo=UTC))
        store.macro.write("CPIAUCSL", [Vintage(date(2026, 1, 1), 1.5, DAY, None)], known)
    return postgres_url


def output(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_reader_needs_nothing_of_the_server(url: str) -> None:
    code = f"""
import sys, crypto_pipeline
rows = crypto_pipeline.macro("CPI", "2026-01-01", as_of="2026-03-01")
print(rows["value"].to_list(), sorted({_server_modules()!r} & set(sys.modules)))
"""
    assert output(code) == "[1.5] []\n"


def test_a_forked_process_reads_them_through_its_helper(url: str) -> None:
    code = """
import os, crypto_pipeline
whole = crypto_pipeline.macro("CPI")
if (child := os.fork()) == 0:
    print(crypto_pipeline.macro("CPI")["value"].to_list(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    assert output(code) == "[1.5]\n"
