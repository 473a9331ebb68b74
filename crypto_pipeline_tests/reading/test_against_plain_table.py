"""Reader, cache and HTTP against plain SQL, on random stores: archive seams, revisions, holes, as of any moment.

Guards I2 and I10 (docs/invariants.md).
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

from crypto_pipeline import Reader
from crypto_pipeline.api.app import create_app
from crypto_pipeline.api.formats import ARROW, CSV, JSON, PARQUET
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.query import Question, question
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.archiver import Archiver
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.partitions.span import Span
from crypto_pipeline_tests.builders.bars import SYMBOLS, bar, database_clock, frame
from crypto_pipeline_tests.oracles.plain_table import Plain
from crypto_pipeline_tests.reading.conftest import clear

EXAMPLES = int(os.environ.get("CRYPTO_PIPELINE_TEST_EXAMPLES", "12"))
SEAM = datetime(2025, 4, 1, tzinfo=UTC)
MARCH = (2025 - 1970) * 12 + 2
TIMEFRAMES = (Timeframe.M1, Timeframe.H1)
SOURCES = ("venue_historical", "historical_aggregated", "live_aggregated", "reconciled")

slots = st.integers(-30, 30)
writes = st.fixed_dictionaries(
    {
        "do": st.just("write"),
        "timeframe": st.sampled_from(TIMEFRAMES),
        "symbols": st.sets(st.sampled_from(SYMBOLS), min_size=1),
        "slots": st.sets(slots, min_size=1, max_size=40),
        "source": st.sampled_from(SOURCES),
        "complete": st.booleans(),
        "revised": st.integers(0, 5),
        "price": st.floats(1e-6, 1e6),
        "stated": st.booleans(),
    }
)
archives = st.fixed_dictionaries({"do": st.just("archive"), "timeframe": st.sampled_from(TIMEFRAMES)})
histories = st.lists(st.one_of(writes, writes, archives), min_size=1, max_size=7)
questions = st.fixed_dictionaries(
    {
        "symbols": st.sets(st.sampled_from(SYMBOLS), min_size=1),
        "timeframe": st.sampled_from(TIMEFRAMES),
        "begin": slots,
        "width": st.integers(1, 61),
        "off": st.integers(-1, 1),
        "last": st.one_of(st.none(), st.integers(1, 70)),
        "end": st.booleans(),
        "moment": st.one_of(st.none(), st.integers(0, 7)),
        "final": st.booleans(),
        "columns": st.one_of(st.none(), st.lists(st.sampled_from(list(READ_SCHEMA)), min_size=1, unique=True)),
        "accept": st.sampled_from((JSON, CSV, ARROW, PARQUET)),
        "encoding": st.sampled_from(("identity", "gzip")),
    }
)


@pytest.fixture(scope="module")
def world(read_database: str) -> Iterator[tuple[Store, Reader, TestClient]]:
    with (
        Store(read_database, batch_rows=1000) as store,
        Reader(read_database) as reader,
        TestClient(create_app(Reader(read_database))) as client,
    ):
        yield store, reader, client


def play(store: Store, plain: Plain, folder: Path, history: list[dict[str, Any]]) -> list[datetime]:
    """Do what the history says; returns moments in between."""
    archiver = Archiver(store.connections, ArchiveStorage(str(folder / "archive")), folder / "scratch")
    moments = [database_clock(store)]
    for step in history:
        timeframe: Timeframe = step["timeframe"]
        if step["do"] == "archive":
            archiver.archive(Span.month(timeframe, MARCH), 0)
        else:
            rows = [bar_of(step, symbol, slot) for symbol in sorted(step["symbols"]) for slot in sorted(step["slots"])]
            store.bars.write(frame(rows), timeframe)
        plain.follow()
        moments.append(database_clock(store))
    return moments


def bar_of(step: dict[str, Any], symbol: str, slot: int) -> dict[str, Any]:
    at = SEAM + slot * step["timeframe"].delta
    values: dict[str, Any] = {
        "price": step["price"] + 10, "source": step["source"], "complete": step["complete"],
        "revision": at + step["timeframe"].delta + timedelta(seconds=step["revised"]),
        "volume": float(slot % 3) + step["price"] / 7,
    }  # fmt: skip
    if not step["stated"]:
        values |= {"quote_volume": None, "taker_buy_volume": None, "trade_count": None}
    return bar(symbol, at, **values)


def questioned(asked: dict[str, Any], moments: list[datetime]) -> Question:
    delta = asked["timeframe"].delta
    begin = SEAM + asked["begin"] * delta + timedelta(milliseconds=asked["off"])
    moment = None if asked["moment"] is None else moments[asked["moment"] % len(moments)]
    # not before all moments: an archived copy's history is known from the first write on
    return question(
        sorted(asked["symbols"], reverse=True), asked["timeframe"], None if asked["last"] else begin,
        begin + asked["width"] * delta if asked["end"] or not asked["last"] else None, last=asked["last"],
        as_of=moment, final_only=asked["final"], columns=asked["columns"],
    )  # fmt: skip


# without shrinking, which takes minutes here: the message says all
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)  # fmt: skip
@given(history=histories, asks=st.lists(questions, min_size=4, max_size=8))
def test_every_way_of_reading_says_what_the_plain_table_says(
    world: tuple[Store, Reader, TestClient], history: list[dict[str, Any]], asks: list[dict[str, Any]]
) -> None:
    store, reader, client = world
    clear(store)
    plain = Plain(store)
    with tempfile.TemporaryDirectory() as folder:
        moments = play(store, plain, Path(folder), history)
        assert reader.cached.await_changes()
        crowd: list[tuple[Question, pl.DataFrame]] = []
        for each in asks:
            asked = questioned(each, moments)
            expected = plain.ask(asked, datetime.now(UTC)).select(asked.columns or list(READ_SCHEMA))
            got = reader.answer(asked)
            assert got.equals(expected), f"{history}\n{asked}\n{moments}\n{got}\n{expected}"
            assert_frame_equal(reader.cached.answer(asked).value, expected)
            again = reader.cached.answer(asked)
            assert again.hit or not asked.final_only
            assert_frame_equal(again.value, expected)
            if asked.start is not None:
                lazy = reader.scan(
                    asked.instruments, asked.timeframe, asked.start, asked.end,
                    as_of=asked.as_of, final_only=asked.final_only,
                )  # fmt: skip
                assert_frame_equal(lazy.collect().sort("instrument", "open_time").select(expected.columns), expected)
            for name in asked.instruments:
                alone = replace(asked, instruments=(name,))
                over_http = fetched(client, alone, each["accept"], each["encoding"])
                wanted = plain.ask(alone, datetime.now(UTC)).select(expected.columns)
                assert_frame_equal(over_http, wanted)
                crowd.append((alone, wanted))
        all_at_once(reader, crowd)


def all_at_once(reader: Reader, crowd: list[tuple[Question, pl.DataFrame]]) -> None:
    """Each question by a thread of its own, several of each kind, so that they are asked together."""
    crowd = [(replace(asked, columns=None), wanted) for asked, wanted in crowd for _ in range(3)]
    barrier = threading.Barrier(len(crowd))

    def ask(asked: Question) -> pl.DataFrame:
        barrier.wait()
        return reader.answer(asked)

    with ThreadPoolExecutor(len(crowd)) as threads:
        for got, (asked, wanted) in zip(threads.map(ask, [asked for asked, _ in crowd]), crowd, strict=True):
            assert got.select(wanted.columns).equals(wanted), f"{asked}\n{got}\n{wanted}"


def fetched(client: TestClient, asked: Question, accept: str, encoding: str) -> pl.DataFrame:
    """The same question over HTTP, page by page, back in the schema's types."""
    values = {
        "timeframe": str(asked.timeframe), "start": asked.start, "end": asked.end, "last": asked.last,
        "as_of": asked.as_of, "final_only": str(asked.final_only).lower(), "limit": 17,
        "columns": None if asked.columns is None else ",".join(asked.columns),
    }  # fmt: skip
    sent = {
        name: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
        for name, value in values.items()
        if value is not None
    }
    headers = {"accept": accept, "accept-encoding": encoding}
    schema = {name: READ_SCHEMA[name] for name in asked.columns or READ_SCHEMA}
    answer = client.get(f"/bars/{asked.instruments[0]}", params=sent, headers=headers)
    pages = [parsed(answer.content, accept, schema)]
    assert answer.status_code == 200, answer.text
    same = client.get(str(answer.url), headers=headers | {"if-none-match": answer.headers["etag"]})
    assert same.status_code == 304
    while (link := answer.links.get("next")) is not None:
        answer = client.get(link["url"], headers=headers)
        assert answer.status_code == 200, answer.text
        pages.append(parsed(answer.content, accept, schema))
    return pl.concat(pages)


def parsed(content: bytes, accept: str, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    match accept:
        case "application/vnd.apache.arrow.stream":
            found = pl.read_ipc_stream(io.BytesIO(content))
        case "application/vnd.apache.parquet":
            found = pl.read_parquet(io.BytesIO(content))
        case "text/csv":
            found = pl.read_csv(io.BytesIO(content), infer_schema=False)
        case _:
            import json

            rows = json.loads(content)["bars"]
            found = pl.DataFrame(
                rows, schema=dict.fromkeys(schema, pl.String) if not rows else None, infer_schema_length=None
            )
    for name, dtype in schema.items():
        column = found[name]
        if isinstance(dtype, pl.Datetime) and column.dtype == pl.String:
            column = column.str.to_datetime(time_unit=dtype.time_unit, time_zone="UTC")
        elif dtype == pl.Boolean and column.dtype == pl.String:
            column = column == "true"
        found = found.with_columns(column.cast(dtype).alias(name))
    return found.select(list(schema))
