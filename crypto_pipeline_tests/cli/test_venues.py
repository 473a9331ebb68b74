"""``venues``: what is listed, and what a probe of the replay exchange and of a scripted one finds."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crypto_pipeline import venue_names as names
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.venues import REGISTRY
from crypto_pipeline_tests.builders.scripted_binance import status
from crypto_pipeline_tests.cli.test_bad_input import Run, run
from crypto_pipeline_tests.venues.contract.ccxt_wires import BitstampWire
from crypto_pipeline_tests.venues.contract.market import Market, Row
from crypto_pipeline_tests.venues.contract.server import ScriptedServer, Wire

__all__ = ["run"]

CHECKS = ["reachable", "clock", "symbols", "page", "minutes", "newest bar", "final", "trade ids"]


@contextmanager
def served(wire: Wire) -> Iterator[ScriptedServer]:
    """The server of a wire in a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ScriptedServer(wire)
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        yield server
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_every_venue_is_listed(run: Run) -> None:
    code, out, err = run("venues", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(REGISTRY)
    assert "exchanges of ccxt: ccxt_" in err
    code, out, _ = run("venues", "list", "--json")
    listed = json.loads(out)
    assert [row["venue"] for row in listed["venues"]] == list(REGISTRY)
    assert {"ccxt_bitstamp", "ccxt_okx"} <= set(listed["ccxt"])


def test_the_replay_exchange_is_as_it_should_be(run: Run) -> None:
    with running_exchange("generated", weight_limit=0, instruments="BTCUSDT,ETHUSDT") as exchange:
        port = {"REPLAY_PORT": str(exchange.port)}
        code, out, err = run("venues", "probe", "replay", "--json", **port)
        assert (code, err) == (0, "")
        found = {row["check"]: row for row in json.loads(out)["findings"]}
        assert list(found) == CHECKS
        assert {row["verdict"] for row in found.values()} == {"ok"}
        assert found["page"]["found"] == "1,000 minutes or more"
        assert found["minutes"]["found"] == "3,000 of 3,000"
        assert "contiguous" in found["trade ids"]["found"]
        code, out, _ = run("venues", "probe", "replay", "--instrument", "ETH-USDT", **port)
        assert code == 0
        assert "ETHUSDT (ETH-USDT)" in out
        code, _, err = run("venues", "probe", "replay", "-i", "ETHUSD", **port)
        assert (code, err) == (2, "error: it lists no 'ETHUSD': did you mean ETHUSDT or ETH-USDT or BTCUSDT?\n")


def test_a_venue_that_does_not_answer_is_bad(run: Run) -> None:
    code, out, _ = run("venues", "probe", "replay", REPLAY_PORT="1")
    assert code == 1
    assert out.splitlines()[2].split()[:4] == ["reachable", "no", "answer", "bad"]
    assert "Connect call failed" in " ".join(out.split())


def test_an_exchange_of_ccxt_says_what_it_does_not_prove(run: Run) -> None:
    wire = BitstampWire(Market())
    with served(wire) as server:
        where = {"CCXT_URLS": json.dumps({"bitstamp": server.url})}
        code, out, _ = run("venues", "probe", "ccxt_bitstamp", "--json", **where)
        found = {row["check"]: row for row in json.loads(out)["findings"]}
        assert code == 1, "its clock stands in January"
        assert [check for check, row in found.items() if row["verdict"] == "bad"] == ["clock"]
        assert "`unproven`" in found["minutes"]["because"]
        assert found["symbols"]["because"] == "Asked for: BTC/USD (BTC-USD)."
        # bars that change after they should be final: the last of the sample are others when they are asked for again
        few: list[int] = []

        def changing(rows: list[Row]) -> list[Row]:
            few.extend([len(rows)] if 5 < len(rows) < 50 else [])
            return [row._replace(close=row.low) for row in rows] if len(few) > 1 else rows

        wire.market.twist = changing
        _, out, _ = run("venues", "probe", "ccxt_bitstamp", "--json", **where)
        assert {row["check"]: row["verdict"] for row in json.loads(out)["findings"]}["final"] == "bad"
        wire.market.twist = list[Row]
        server.fail("bars", *[status(403)] * 20)
        code, out, _ = run("venues", "probe", "ccxt_bitstamp", "--json", **where)
        found = {row["check"]: row for row in json.loads(out)["findings"]}
        assert (code, found["bars"]["verdict"]) == (1, "bad")
        assert "403" in found["bars"]["because"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("krakn", "'krakn' is not a venue: did you mean kraken"),
        ("bitstamp", "'bitstamp' is not a venue: did you mean ccxt_bitstamp?"),
        ("ccxt_bitstmp", "'ccxt_bitstmp' is not a venue, ccxt has no exchange 'bitstmp': did you mean ccxt_bitstamp"),
    ],
)
def test_an_unknown_name_is_one_line_with_near_names(run: Run, name: str, said: str) -> None:
    code, _, err = run("venues", "probe", name)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_without_ccxt_the_line_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "ccxt_exchanges", lambda: ())
    for arguments in (("venues", "probe", "ccxt_okx"), ("up", "--venue", "ccxt_okx")):
        code, _, err = run(*arguments)
        assert code == 2
        assert "the venue ccxt_okx needs the package ccxt: pip install 'crypto-pipeline[ccxt]'" in err
        assert err.count("\n") == 1


def test_ccxt_is_imported_for_a_venue_of_it_alone() -> None:
    """Neither settings, nor the registry, nor the facts of such a venue import it; its client imports one exchange."""
    script = """
        import sys
        from crypto_pipeline.settings import load_settings
        from crypto_pipeline.venues import REGISTRY, collected_venues, make_venue, traits_of
        settings = load_settings(venue="ccxt_okx")
        assert not traits_of("ccxt_okx").absence_is_silence and collected_venues(settings) == ("ccxt_okx",)
        for name in REGISTRY:
            make_venue(settings, venue=name)
        assert "ccxt" not in sys.modules and "aiohttp" not in sys.modules
        make_venue(settings)
        assert "ccxt.async_support.okx" in sys.modules and "ccxt.async_support.bitstamp" not in sys.modules
        import ccxt, ccxt.async_support
        assert ccxt.bitstamp and len(ccxt.exchanges) > 90 and ccxt.async_support.bitstamp, "others may use all of it"
        assert issubclass(type(make_venue(settings).exchange), ccxt.async_support.okx)
    """
    lines = "\n".join(line.removeprefix(" " * 8) for line in script.splitlines())
    subprocess.run([sys.executable, "-c", lines], check=True)


def test_a_table_in_the_environment_that_is_no_json_is_named(run: Run) -> None:
    code, _, err = run("status", CCXT_URLS="bitstamp=http://127.0.0.1:9")
    assert (code, err.count("\n")) == (2, 1)
    assert "CRYPTO_PIPELINE_CCXT_URLS is not JSON" in err
    assert '{"bitstamp": "http://…"}' in err
