from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from crypto_pipeline.market.instruments import Instrument, Tier
from crypto_pipeline.store.errors import StoreError
from crypto_pipeline.store.instruments import Instruments, ListingRow
from crypto_pipeline.store.pool import Connections

LISTED = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def instruments(postgres_url: str) -> Iterator[Instruments]:
    connections = Connections(postgres_url)
    yield Instruments(connections)
    connections.close()


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
