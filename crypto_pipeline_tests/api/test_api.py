"""HTTP reads over a real socket: what is promised is true, what is wrong is said, nothing is left behind.

Guards I10 (docs/invariants.md).
"""

from __future__ import annotations

import json
import os
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import polars as pl
import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS

from crypto_pipeline import Reader
from crypto_pipeline.api import serve
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.query import NARROW
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.bars import START, bar, frame

EXAMPLES = int(os.environ.get("CRYPTO_PIPELINE_TEST_EXAMPLES", "20"))
BARS = "/bars/BTC-USDT?timeframe=1m&start=2025-03-31&end=2025-04-01"


def problem(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert said in body["detail"], body
    assert "\n" not in body["detail"]


def test_what_openapi_says_is_true_of_any_request(served: Served) -> None:
    """All of it, except that every time of the right form exists and every span is the right way round."""
    schema = schemathesis.openapi.from_url(served.url + "/openapi.json")
    checks = [check for check in CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]
    for operation in schema.get_all_operations():

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.ok().as_strategy())
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=served.url, checks=checks)

        ask()


def test_without_a_span_the_markets_last_day_is_given(served_database: str) -> None:
    with Store(served_database) as store:
        store.clock.learn("replay", START + timedelta(hours=2))
        try:
            serving = Reader(served_database)
            with serving, Served(serving, load_settings()) as fresh:
                found = httpx.get(f"{fresh.url}/bars/BTC-USDT?timeframe=1m").json()
                assert len(found["bars"]) == 42
                page = httpx.get(f"{fresh.url}/bars/BTC-USDT?timeframe=1m&start=2025-03-31&limit=40").json()
                assert page["next"] is not None
                assert len(httpx.get(f"{fresh.url}{page['next']}").json()["bars"]) > 0
        finally:
            store.connections.run(lambda connection: connection.execute("DELETE FROM market.clock") and None)


def test_a_wrong_request_is_told_what_is_wrong(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        problem(client.get("/bars/BTC-USD?timeframe=1m&last=1"), 404, "did you mean BTC-USDT?")
        problem(client.get("/bars/BTC-USDT?timeframe=2m&last=1"), 422, "timeframe")
        both = "/bars/BTC-USDT?timeframe=1m&last=1&start=2025-03-31"
        problem(client.get(both), 422, "either start, or last")
        problem(client.get("/bars/BTC-USDT?timeframe=1m&start=2025-04-01&end=2025-03-31"), 422, "is not before end")
        problem(client.get("/bars/BTC-USDT?timeframe=1m&start=2025-02-31"), 422, "cannot read the time '2025-02-31'")
        problem(client.get("/bars/BTC-USDT?timeframe=1m&last=99999999999"), 422, "last")
        problem(client.get("/bars/BTC-USDT?timeframe=1m&last=1&color=red"), 422, "color")
        problem(client.get("/bars/BTC-USDT?timeframe=1m&last=1&columns=hihg"), 422, "no column 'hihg'")
        problem(client.get("/bars/a%00b%27%3B--?timeframe=1m&last=1"), 404, "unknown instrument")
        problem(client.get("/latest?instruments=NOPE-USDT"), 404, "unknown instrument 'NOPE-USDT'")
        problem(client.get("/gaps?state=lsot"), 422, "state")
        problem(client.get(BARS, headers={"accept": "image/png"}), 406, "accept one of application/json")
        problem(client.get("/nothing"), 404, "Not Found")
        problem(client.post("/latest"), 405, "Method Not Allowed")
        # an absurd span is pages, and the first of them begins where there are bars
        first = client.get("/bars/BTC-USDT?timeframe=1m&start=0001-01-01&end=9999-12-31&limit=5").json()
        assert len(first["bars"]) == 4
        assert "limit=5" in first["next"]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ("/bars/BTC-USDT?timeframe=1m&strat=2025-03-31", 422, "unknown parameter 'strat': did you mean start?"),
        ("/bars/BTC-USDT?timeframe=1m&last=1&zzz=1", 422, "unknown parameter 'zzz': there are timeframe, start, end"),
        ("/gaps?sate=lost", 422, "unknown parameter 'sate': did you mean state?"),
        ("/bars/BTC-USDT?timeframe=1m&last=1&format=csv", 422, "by its header, such as `Accept: text/csv`"),
        ("/bars/btc-usdt?timeframe=1m&last=1", 404, "unknown instrument 'btc-usdt': did you mean BTC-USDT?"),
        ("/latest?instruments=eth-usdt", 404, "did you mean ETH-USDT?"),
        ("/bars/BTC-USDT?timeframe=1m&start=foo", 422, "start: cannot read the time 'foo': use ISO 8601"),
        ("/bars/BTC-USDT?timeframe=1m&start=2025-03-31T12:00", 422, "start: naive time 2025-03-31T12:00:00: give"),
        ("/gaps?end=foo", 422, "end: cannot read the time 'foo'"),
        ("/bars/BTC-USDT?last=1", 422, "timeframe: is missing: use one of 1m, 5m"),
        ("/bars/BTC-USDT?timeframe=2m&last=1", 422, "unknown timeframe '2m': use one of 1m, 5m"),
        ("/bars/BTC-USDT?timeframe=1m&last=x", 422, "last: give a whole number, not 'x'"),
        ("/bars/BTC-USDT?timeframe=1m&last=0", 422, "last: give a whole number from 1 on, not '0'"),
        ("/bars/BTC-USDT?timeframe=1m&last=99999999", 422, "last: give a whole number up to 50,000, not '99999999'"),
        ("/bars/BTC-USDT?timeframe=1m&last=1&final_only=maybe", 422, "final_only: give true or false, not 'maybe'"),
        ("/bars/BTC-USDT?timeframe=1m&last=1&fill=zero", 422, "fill: unknown fill 'zero': use 'flat'"),
        ("/gaps?state=lsot", 422, "state: unknown state 'lsot': use 'pending'"),
    ],
)
def test_the_value_and_the_fix_are_named(served: Served, asked: str, status: int, said: str) -> None:
    with httpx.Client(base_url=served.url) as client:
        problem(client.get(asked), status, said)


def test_the_evidence_of_a_hole_is_an_object(served: Served, served_database: str) -> None:
    hole = {"instrument": "BTC-USDT", "timeframe": "1w", "start": START - timedelta(days=700), "state": "lost"}
    evidence = {"because": "The ids jump.", "seen": {"first": [1, None]}}
    rows = pl.DataFrame([hole | {"end": hole["start"] + timedelta(days=7), "evidence": json.dumps(evidence)}])
    with Store(served_database) as store:
        store.ledger.record(rows)
        try:
            asked = f"{served.url}/gaps?timeframe=1w&state=lost"
            (told,) = httpx.get(asked).json()["rows"]
            assert {key: told["evidence"][key] for key in evidence} == evidence
            assert (told["bars"], told["start"]) == (1, f"{hole['start']:%Y-%m-%dT%H:%M:%S}.000Z")
            assert "The ids jump." in httpx.get(asked, headers={"accept": "text/csv"}).text
        finally:
            store.connections.run(
                lambda connection: connection.execute("DELETE FROM market.gaps WHERE timeframe = '1w'") and None
            )


def test_times_and_columns_are_read_as_in_python(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        span = "/bars/BTC-USDT?timeframe=1m&end=2025-03-31T01:00Z&start="
        expected = client.get(span + "2025-03-31T00:10Z").json()["bars"]
        assert expected
        for same in ("2025-03-31T00:10:00+00:00", "2025-03-31T00:10:00%2B00:00", "2025-03-31T02:10+02:00"):
            assert client.get(span + same).json()["bars"] == expected, same
        assert list(expected[0]) == list(NARROW)
        every = client.get(span + "2025-03-31T00:10Z&columns=all").json()["bars"]
        assert list(every[0]) == list(READ_SCHEMA)
        assert list(client.get("/latest?columns=close").json()["bars"][0]) == ["close"]
        assert client.get("/bars/BTC-USDT?timeframe=1m").json()["bars"] == []  # the last day


def ask_health(connection: socket.socket) -> bool:
    connection.settimeout(20)
    connection.sendall(b"GET /health/simple HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}}"):
        more = connection.recv(4096)
        if not more:
            return False
        answer += more
    return answer.startswith(b"HTTP/1.1 200")


def test_thousands_of_idle_connections_keep_nobody_out(served_database: str) -> None:
    """The oldest idle ones of the address that has most go; who asks is answered, health first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with Served(Reader(served_database), load_settings()) as running:
        limit = serve.BoundedProtocol.most
        held: list[socket.socket] = []
        with httpx.Client(base_url=running.url, timeout=20) as client:
            assert client.get(BARS).status_code == 200
            other = socket.create_connection(("127.0.0.1", running.port), source_address=("127.0.0.2", 0))
            assert ask_health(other)
            try:
                while len(held) < limit + 300:
                    held.append(socket.create_connection(("127.0.0.1", running.port)))
                answer = httpx.get(running.url + "/health/simple", timeout=20)
                assert answer.json()["status"] == "ok"
                assert httpx.get(running.url + BARS, timeout=20).status_code == 200
                assert len(running.server.server_state.connections) <= limit + 2
                # one that was idle longer, of an address that has few, stays
                assert ask_health(other)
                held[0].settimeout(20)
                assert held[0].recv(1) == b""
            finally:
                for each in (*held, other):
                    each.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def asked(port: int, paths: list[str]) -> list[socket.socket]:
    """Connections of their own, each of which has asked for one path and not read the answer."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in paths]
    for connection, path in zip(connections, paths, strict=True):
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    return connections


def test_health_is_told_while_every_connection_is_busy(served_database: str) -> None:
    reader = Reader(served_database, connections=2, patience=1.0, statement_timeout=3.0)
    with Served(reader, load_settings()) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        assert client.get("/health/simple").status_code == 200
        with connect(served_database) as locking, locking.transaction():
            locking.execute("LOCK TABLE market.ohlc_data IN ACCESS EXCLUSIVE MODE")
            span = "timeframe=1m&start=2025-03-31&end=2025-04-01"
            gone = asked(running.port, [f"/bars/BTC-USDT?{span}&limit={100 + number}" for number in range(60)])
            deadline = time.monotonic() + 20
            while len(active(served_database)) < 3:
                assert time.monotonic() < deadline, "nobody waits for the table"
                time.sleep(0.01)
            assert client.get("/health/simple").json()["status"] == "ok"
            for each in gone:
                each.close()


def test_pages_join_without_a_double_or_a_hole(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        whole = client.get(BARS + "&limit=5000").json()
        assert whole["next"] is None
        assert len(whole["bars"]) == 42
        pages, address = [], BARS + "&limit=9"
        while address:
            answer = client.get(address)
            pages += answer.json()["bars"]
            address = answer.json()["next"]
            assert answer.headers.get("link") == (f'<{address}>; rel="next"' if address else None)
            if len(pages) >= 42:
                break
        assert pages == whole["bars"]


def test_an_answer_that_did_not_change_is_not_sent_again(served: Served, served_database: str) -> None:
    with httpx.Client(base_url=served.url) as client, Store(served_database) as store:
        first = client.get(BARS)
        same = client.get(BARS, headers={"if-none-match": first.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == first.headers["etag"]
        assert float(same.headers["age"]) < 5
        row = first.json()["bars"][0]
        store.bars.write(frame([bar(at=START, price=row["open"] + 1)]), Timeframe.M1)
        deadline = time.monotonic() + 10
        while (now := client.get(BARS, headers={"if-none-match": first.headers["etag"]})).status_code == 304:
            assert time.monotonic() < deadline, "the change was never told"
        assert now.headers["etag"] != first.headers["etag"]
        assert len(now.json()["bars"]) == 43


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_bodies_are_compressed_as_the_client_can_read_them(served: Served, coding: str) -> None:
    with httpx.Client(base_url=served.url) as client:
        plain = client.get(BARS, headers={"accept-encoding": "identity"})
        with client.stream("GET", BARS, headers={"accept-encoding": coding}) as answer:
            assert answer.headers["content-encoding"] == coding
            packed = b"".join(answer.iter_raw())
        assert len(packed) < len(plain.content) / 3
        assert pa.Codec(coding).decompress(packed, len(plain.content), asbytes=True) == plain.content


def test_without_the_token_nothing_is_told(served_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_API_TOKEN", "open sesame")
    monkeypatch.setenv("CRYPTO_PIPELINE_API_RATE", "10")
    with Served(Reader(served_database), load_settings()) as guarded, httpx.Client(base_url=guarded.url) as client:
        for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic open sesame"}):
            answer = client.get(BARS, headers=header)
            problem(answer, 401, "Bearer")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get(BARS, headers={"authorization": "Bearer open sesame"}).status_code == 200
        assert client.get("/health/simple").json()["status"] == "ok"
        answers = [client.get(BARS, headers={"authorization": "Bearer open sesame"}) for _ in range(130)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        problem(refused[0], 429, "more than 10 requests a second")
        assert int(refused[0].headers["retry-after"]) >= 1


def test_half_open_connections_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "ARRIVAL", 0.3)
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
    for each in held[10:]:
        each.sendall(b"GET /latest HTTP/1.1\r\nhost: 127.0.0.1\r\n")
    with httpx.Client(base_url=served.url) as client:
        assert client.get("/health/simple").status_code == 200
    for each in held:
        each.settimeout(5)
        assert each.recv(1) == b"", "the server hung up"
        each.close()


def active(url: str) -> list[str]:
    """Statements that the programs of this database have under way, or transactions that they left open."""
    with Store(url) as store:
        rows = store.connections.run(
            lambda connection: connection.execute(
                "SELECT state || ': ' || query FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND state <> 'idle' AND backend_type = 'client backend'"
            ).fetchall()
        )
    return [text for (text,) in rows]


def until_idle(url: str, seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while left := active(url):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_many_clients_at_once_and_no_query_left_behind(served: Served, served_database: str) -> None:
    with httpx.Client(base_url=served.url, timeout=20, limits=httpx.Limits(max_connections=20)) as client:

        def ask(number: int) -> int:
            return client.get(f"/bars/BTC-USDT?timeframe=1m&last={1 + number % 50}").status_code

        with ThreadPoolExecutor(20) as threads:
            assert set(threads.map(ask, range(60))) == {200}
    until_idle(served_database)


ABSURD = (
    "/bars/BTC-USDT?timeframe=1m&start=0001-01-01&end=9999-12-31&limit=50000",
    "/bars/BTC-USDT?timeframe=1m&start=0001-01-01&end=9999-12-31&limit=50000&fill=flat",
    "/bars/BTC-USDT?timeframe=1w&start=1900-01-01&limit=50000&as_of=0001-01-01",
    "/bars/BTC-USDT?timeframe=1m&last=50000&end=0001-01-01",
    "/coverage?start=0001-01-01&end=9999-12-31&limit=50000&offset=9999999",
    "/gaps?instruments=" + ",".join(["BTC-USDT"] * 400),
    "/latest?instruments=" + ",".join(["BTC-USDT"] * 400),
    "/bars/" + "A" * 5000 + "?timeframe=1m&last=1",
    "/bars/BTC-USDT?timeframe=1m&last=1&columns=" + "open," * 99 + "open",
    "/bars/BTC-USDT?timeframe=1m&last=1&as_of=%00",
    "/bars/BTC-USDT?timeframe=1m&last=1%3B%20DROP%20TABLE%20market.ohlc_data",
    "/bars/%27%20OR%201%3D1--?timeframe=1m&last=1",
    "/bars/..%2F..%2Fetc%2Fpasswd?timeframe=1m&last=1",
    "/bars/BTC-USDT?timeframe=1m&timeframe=1h&last=1&last=2",
)


def test_absurd_requests_are_answered_soon_and_leave_nothing_behind(served: Served, served_database: str) -> None:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        for address in ABSURD:
            begin = time.monotonic()
            answer = client.get(address)
            assert answer.status_code in (200, 400, 404, 422), (address[:80], answer.text[:200])
            assert time.monotonic() - begin < 3, address[:80]
            if answer.status_code != 200:
                assert "\n" not in answer.json()["detail"]
    until_idle(served_database)


def test_a_read_that_hangs_is_cancelled_also_when_its_client_is_gone(served_database: str) -> None:
    """A table that stays locked is as slow as a query can be."""
    reader = Reader(served_database, patience=5, statement_timeout=0.7)
    with Served(reader, load_settings()) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        assert client.get(BARS).status_code == 200  # names are known, connections made
        with connect(served_database) as locking, locking.transaction():
            locking.execute("LOCK TABLE market.ohlc_data IN ACCESS EXCLUSIVE MODE")
            gone = asked(running.port, [f"/bars/BTC-USDT?timeframe=1m&last={10 + number}" for number in range(20)])
            for each in gone:
                each.close()
            for address in ("/bars/BTC-USDT?timeframe=1m&last=9", "/bars/ETH-USDT?timeframe=1m&last=5000"):
                problem(client.get(address), 422, "longer than is allowed")
        until_idle(served_database, 5)
        assert client.get("/bars/BTC-USDT?timeframe=1m&last=9").status_code == 200
