"""Macro series for readers: with nothing of the extra ``server``, and refused where Polars cannot work."""

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


def test_a_forked_process_without_polars_is_told_instead_of_waiting_for_ever(url: str) -> None:
    code = """
import os, crypto_pipeline
assert crypto_pipeline.macro("CPI").height == 1
if (child := os.fork()) == 0:
    try:
        crypto_pipeline.macro("CPI")
    except crypto_pipeline.StoreError as error:
        print(str(error).partition(":")[0], flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    assert output(code) == "macro needs Polars' threads, which a forked process does not have\n"
