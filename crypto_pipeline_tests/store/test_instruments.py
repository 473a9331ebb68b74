"""What is collected, and what each venue calls it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from crypto_pipeline.market.instruments import Instrument, Tier
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.instruments import Instruments, ListingRow
from crypto_pipeline_tests.builders.bars import series

LISTED = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def instruments(connections: Connections) -> Instruments:
    return Instruments(connections)


def test_added_once_removed_and_added_again(instruments: Instruments) -> None:
    btc, eth = Instrument.crypto("BTC-USDT", Tier.LARGE), Instrument.crypto("ETH-USDT")
    assert instruments.add([eth, btc]) == ["BTC-USDT", "ETH-USDT"]
    assert instruments.add([btc]) == []
    instruments.remove("BTC-USDT")
    assert [row.instrument.symbol for row in instruments.list()] == ["ETH-USDT"]
    assert len(instruments.list(active_only=False)) == 2
    number = instruments.ids()["BTC-USDT"]
    assert instruments.add([btc]) == ["BTC-USDT"]
    assert instruments.ids()["BTC-USDT"] == number
    assert instruments.list()[0].instrument == btc


def test_everything_known_of_an_instrument_comes_back(instruments: Instruments) -> None:
    given = Instrument(
        symbol="DOGE-USDT", base="DOGE", quote="USDT", tier=Tier.MEME, venue_symbols={"binance": "DOGEUSDT"},
        tick_size=Decimal("0.00001"), lot_size=Decimal("1"), listed=LISTED,
    )  # fmt: skip
    instruments.add([given])
    assert instruments.list()[0].instrument == given


def test_listings_keep_what_a_venue_leaves_unsaid(instruments: Instruments) -> None:
    instruments.add([Instrument.crypto("BTC-USDT"), Instrument.crypto("OLD-USDT")])
    row = ListingRow("BTC-USDT", "BTCUSDT", LISTED, None, "trading", Decimal("0.01"), None)
    assert instruments.set_listings("binance", [row]) == 1
    assert instruments.set_listings("binance", [row]) == 0
    assert instruments.set_listings("binance", [ListingRow("BTC-USDT", "BTCUSDT")]) == 0
    gone = datetime(2024, 5, 6, tzinfo=UTC)
    assert instruments.set_listings("binance", [ListingRow("OLD-USDT", "OLDUSDT", LISTED, gone, "delisted")]) == 1
    assert instruments.listings("binance")[0] == row
    assert instruments.listings("replay") == []
    frame = instruments.frame("binance")
    assert frame["instrument"].to_list() == ["BTC-USDT", "OLD-USDT"]
    assert frame["delisted"].to_list() == [None, gone]
    assert instruments.frame("replay")["venue_symbol"].to_list() == [None, None]


def test_unknown_symbols_are_named(instruments: Instruments) -> None:
    with pytest.raises(StoreError, match="unknown instrument NO-SUCH"):
        instruments.remove("NO-SUCH")
    with pytest.raises(StoreError, match="unknown instrument NO-SUCH"):
        instruments.set_listings("binance", [ListingRow("NO-SUCH", "NOSUCH")])


def test_one_that_never_had_a_bar_leaves_no_trace_when_it_is_forgotten(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT"), Instrument.crypto("FOO-BAR")])
        store.instruments.set_listings("binance", [ListingRow("FOO-BAR", "FOOBAR", LISTED)])
        day = LISTED.date()
        cells = pl.DataFrame({"instrument": ["BTC-USDT", "FOO-BAR"], "timeframe": "1m", "day": day, "expected": 1440})
        store.coverage.set_expected(cells)
        hole = {"instrument": "FOO-BAR", "timeframe": "1m", "start": LISTED, "end": LISTED + timedelta(days=1)}
        store.ledger.record(pl.DataFrame([hole | {"state": "lost", "evidence": "{}"}]))
        store.bars.write(series(("BTC-USDT",), 3, LISTED), Timeframe.M1)
        assert store.instruments.forget(["BTC-USDT", "FOO-BAR"]) == [], "both are collected"

        store.instruments.remove("FOO-BAR")
        store.instruments.remove("BTC-USDT")
        assert store.coverage.summary().is_empty(), "what is not collected is not expected"
        assert store.ledger.open().is_empty()
        assert list(store.instruments.without_bars()) == ["FOO-BAR"]
        assert store.instruments.forget(["BTC-USDT", "FOO-BAR"]) == ["FOO-BAR"]
        assert list(store.instruments.ids()) == ["BTC-USDT"], "bars are kept, and so is what they are of"

        store.instruments.add([Instrument.crypto("FOO-BAR"), Instrument.crypto("BTC-USDT")])
        assert store.coverage.summary()["present"].to_list() == [3]
        assert store.coverage.cells([Timeframe.M1], None, None, ["FOO-BAR"]).is_empty()


def test_instruments_of_one_venue_and_those_of_an_earlier_version(instruments: Instruments) -> None:
    older, kraken = Instrument.crypto("BTC-USDT"), Instrument.crypto("BTC-USDT@kraken")
    instruments.add([older, kraken])
    names = {venue: [row.instrument.symbol for row in instruments.list(venue=venue)] for venue in ("replay", "kraken")}
    assert names == {"replay": ["BTC-USDT"], "kraken": ["BTC-USDT", "BTC-USDT@kraken"]}, "without a venue: of any"
    assert instruments.assign_venue("replay") == 1
    assert instruments.assign_venue("kraken") == 0
    for venue, expected in (("replay", ["BTC-USDT"]), ("kraken", ["BTC-USDT@kraken"])):
        assert [row.instrument.symbol for row in instruments.list(venue=venue)] == expected
        assert instruments.frame(venue, own=True)["instrument"].to_list() == expected
        assert instruments.frame(venue).height == 2
    assert [row.instrument.venue for row in instruments.list()] == ["replay", "kraken"]
