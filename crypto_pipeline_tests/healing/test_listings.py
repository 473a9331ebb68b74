"""Instruments that the venue does not list are looked for with growing pauses, and cost no others their bars."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from crypto_pipeline.healing import listings
from crypto_pipeline.market import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.healing.conftest import NOW, Bench

SPAN = NOW - timedelta(hours=1), NOW


def looks(bench: Bench) -> int:
    """Questions for the listings that met the fault which is set to count them."""
    return sum(entry["struck"] for entry in bench.exchange.server.faults.show())


def test_looks_for_an_unlisted_instrument_become_rare(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(settings={"days": 1, "request_attempts": 1})
    bench.collect("BTC-USDT")
    bench.store.instruments.add([Instrument.crypto("NOSUCH-USDT")])
    bench.exchange.control({"kind": "malformed", "endpoint": "exchangeInfo"})
    for _ in range(4):
        report = bench.run(lambda pipeline: pipeline.backfill(*SPAN, timeframes=[Timeframe.M1]))
    assert looks(bench) == 2, "one look in four passes; the other question is for the limits of requests"
    assert bench.store.reader.read(["BTC-USDT"], Timeframe.M1, *SPAN).height >= 59

    monkeypatch.setattr(listings, "_FIRST_LOOK", 0.0)
    bench.store.instruments.add([Instrument.crypto("OTHER-USDT")])
    report = bench.run(lambda pipeline: pipeline.backfill(*SPAN, timeframes=[Timeframe.M1]))
    assert "does not say whether it lists it" in report.problems["OTHER-USDT"]
    assert looks(bench) == 3, "another one is looked for at once"
    bench.exchange.clear_faults()
    bench.run(lambda pipeline: pipeline.backfill(*SPAN, timeframes=[Timeframe.M1]))
    look = listings.ListingLook.of(bench.store, "replay")
    assert look.unlisted == ("NOSUCH-USDT", "OTHER-USDT")
