"""Macro series over HTTP: the same rows as in Python, in every form, by pages."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, date, datetime

import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline import Reader
from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.market.macro.vintages import Availability, Vintage
from crypto_pipeline.reading.series.macro import read_macro
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.api.test_api import problem
from crypto_pipeline_tests.builders.databases import NewDatabase, shared_database

FIRST, SECOND = date(2026, 2, 11), date(2026, 3, 11)


@pytest.fixture(scope="module")
def served_macro(new_database: NewDatabase) -> Iterator[tuple[Store, Served]]:
    with shared_database(new_database, "macro_in_tests") as url, Store(url) as store:
        store.macro.choose(choose_series("CPI"))
        stated = [
            Vintage(date(2026, 1, 1), 1.0, FIRST, date(2026, 3, 10)),
            Vintage(date(2026, 1, 1), 1.1, SECOND, None),
            Vintage(date(2026, 2, 1), None, SECOND, None),
        ]
        store.macro.write("CPIAUCSL", stated, Availability("America/Chicago", datetime(2026, 3, 18, tzinfo=UTC)))
        with Served(Reader(url), load_settings()) as running:
            yield store, running


def test_every_form_has_the_rows_of_python(served_macro: tuple[Store, Served]) -> None:
    store, served = served_macro
    with httpx.Client(base_url=served.url) as client:
        asked = "/macro/cpi?start=2026-01-01&prints=all"
        whole = read_macro(store, "CPI", "2026-01-01", prints="all")
        assert whole.height == 3
        body = client.get(asked).json()
        assert body["next"] is None
        assert [(row["period"], row["value"], row["vintage_end"]) for row in body["rows"]] == [
            ("2026-01-01", 1.0, "2026-03-10"), ("2026-01-01", 1.1, None), ("2026-02-01", None, None),
        ]  # fmt: skip
        assert body["rows"][0]["available_at"] == "2026-02-12T06:00:00.000000Z"
        parquet = client.get(asked, headers={"accept": "application/vnd.apache.parquet"})
        assert_frame_equal(pl.read_parquet(io.BytesIO(parquet.content)), whole)
        assert client.get(asked, headers={"accept": "text/csv"}).text.splitlines()[0].startswith("series,period,value")
        page = client.get(asked + "&limit=2").json()
        rest = client.get(page["next"]).json()
        assert page["rows"] + rest["rows"] == body["rows"]
        then = client.get("/macro/CPIAUCSL?as_of=2026-03-01T00:00Z").json()["rows"]
        assert [(row["value"], row["vintage_end"]) for row in then] == [(1.0, None)]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ("/macro/CPII", 404, "unknown macro series 'CPII': did you mean CPI"),
        ("/macro/CPI?start=foo", 422, "start: cannot read the time 'foo'"),
        ("/macro/CPI?start=2026-02-01&end=2026-01-01", 422, "is not before end"),
        ("/macro/CPI?prints=last", 422, "prints: unknown prints 'last': use 'latest'"),
        ("/macro/CPI?asof=2026-01-01", 422, "unknown parameter 'asof': did you mean as_of?"),
    ],
)
def test_the_value_and_the_fix_are_named(
    served_macro: tuple[Store, Served], asked: str, status: int, said: str
) -> None:
    problem(httpx.get(served_macro[1].url + asked), status, said)
