"""The universe file: what it says, and what is refused with the name of the value."""

from pathlib import Path

import pytest

from crypto_pipeline.market import (
    AssetClass,
    Instrument,
    Tier,
    choose_instruments,
    load_universe,
    parse_universe,
)
from crypto_pipeline.market.instruments import plain_name, refresh_class

UNIVERSE = load_universe()


def test_the_universe_of_the_package() -> None:
    crypto = choose_instruments(UNIVERSE, "all")
    assert len(crypto) == 90
    assert all(one.quote == "USDT" and one.asset_class is AssetClass.CRYPTO for one in crypto)
    first = choose_instruments(UNIVERSE, "20")
    assert [one.symbol for one in first[:3]] == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    assert {one.tier for one in first} == {Tier.LARGE}
    assert first[0].venue_symbol("binance") == "BTCUSDT"
    stocks = choose_instruments(UNIVERSE, "all", asset_class=AssetClass.STOCK)
    assert "BRK-B" in [one.symbol for one in stocks]
    assert {one.calendar for one in stocks} == {"XNYS"}
    assert len(choose_instruments(UNIVERSE, "all", asset_class=None)) == 90 + 10 + 5


def test_names_are_taken_in_the_order_given_and_once() -> None:
    chosen = choose_instruments(UNIVERSE, " eth-usdt,BTC-USDT, ETH-USDT,ADA-BTC")
    assert [one.symbol for one in chosen] == ["ETH-USDT", "BTC-USDT", "ADA-BTC"]
    known = choose_instruments(UNIVERSE, "FOO-BAR", known=["FOO-BAR"])
    assert known == [Instrument.crypto("FOO-BAR")]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("BTCUSDT", r"unknown symbol 'BTCUSDT': did you mean BTC-USDT"),
        ("ETH/USDT", r"unknown symbol 'ETH/USDT': did you mean ETH-USDT"),
        ("BTC-USTD", r"unknown symbol 'BTC-USTD': did you mean BTC-USDT"),
        ("BTC-USDT,DOGGE-USDT", r"unknown symbol 'DOGGE-USDT': did you mean DOGE-USDT"),
        ("QQQQ-ZZZZ", r"unknown symbol 'QQQQ-ZZZZ': write BASE-QUOTE"),
        ("AAPL", r"AAPL is a stock instrument"),
        ("0", r"cannot choose 0 instruments: the universe has 90"),
        ("-3", r"cannot choose -3"),
        ("91", r"cannot choose 91"),
        (" , ", r"no instruments in ' , '"),
    ],
)
def test_a_bad_choice_is_named_with_the_nearest(choice: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_instruments(UNIVERSE, choice)


def test_a_file_of_ones_own() -> None:
    text = """
        [[group]]
        tier = "mid"
        quote = "EUR"
        symbols = ["BTC", "ETH-BTC"]
        [venue_symbols.elsewhere]
        "BTC-EUR" = "XXBTZEUR"
    """
    bitcoin, ether = parse_universe(text)
    assert (bitcoin.symbol, bitcoin.base, bitcoin.quote) == ("BTC-EUR", "BTC", "EUR")
    assert (bitcoin.venue_symbol("elsewhere"), ether.venue_symbol("elsewhere")) == ("XXBTZEUR", "ETHBTC")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "group: Field required"),
        ('[[group]]\ntier = "huge"\nsymbols = []', "group.0.tier.*'huge'"),
        ('[[group]]\ntier = "mid"\nsymbols = ["BTC", "BTC"]', "BTC-USDT is there twice"),
        ('[[group]]\ntier = "mid"\nsymbols = ["b t c"]', "'b t c' is no symbol"),
        ('[[group]]\ntier = "mid"\ncolour = "red"\nsymbols = []', "group.0.colour"),
        ('[[group]]\ntier = "mid"\nsymbols = []\n[failover]\n"A-B" = ["kraken"]', "'A-B' is in no group"),
        ('[[group]]\ntier = "mid"\nsymbols = []\n[venue_symbols.x]\n"A-B" = "AB"', "'A-B' is in no group"),
        ("[[group", "Expected"),
    ],
)
def test_a_broken_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parse_universe(text)
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"cannot read the universe file {file}"):
        load_universe(file)
    with pytest.raises(ValueError, match="cannot read the universe file"):
        load_universe(tmp_path / "absent.toml")


def test_stand_ins_are_the_groups_or_ones_own() -> None:
    text = """
        [[group]]
        tier = "mid"
        failover = ["kraken", "coinbase"]
        symbols = ["BTC", "ETH"]
        [[group]]
        tier = "meme"
        symbols = ["WIF"]
        [failover]
        "ETH-USDT" = ["coinbase"]
        """
    assert [(one.symbol, one.failover) for one in parse_universe(text)] == [
        ("BTC-USDT", ("kraken", "coinbase")),
        ("ETH-USDT", ("coinbase",)),
        ("WIF-USDT", ()),
    ]


TWO_VENUES = """
    [[group]]
    tier = "large"
    symbols = ["BTC", "ETH"]
    [[group]]
    tier = "large"
    venue = "kraken"
    symbols = ["BTC", "XMR"]
    [[group]]
    tier = "stock"
    asset_class = "stock"
    calendar = "XNYS"
    venue = "massive"
    symbols = ["AAPL", "BRK-B"]
    """


def test_the_plain_name_is_the_series_of_the_venue_that_is_named_first() -> None:
    universe = parse_universe(TWO_VENUES)
    assert [(one.symbol, one.venue) for one in universe] == [
        ("BTC-USDT", None),
        ("ETH-USDT", None),
        ("BTC-USDT@kraken", "kraken"),
        ("XMR-USDT", "kraken"),
        ("AAPL", "massive"),
        ("BRK-B", "massive"),
    ]
    again = universe[2]
    assert (again.base, again.quote, again.venue_symbol("kraken")) == ("BTC", "USDT", "BTCUSDT")
    assert refresh_class(again.symbol) is refresh_class("BTC-USDT")


def test_groups_that_name_their_venue_are_offered_whatever_their_class() -> None:
    universe = parse_universe(TWO_VENUES)
    assert choose_instruments(universe, "all") == universe
    assert [one.symbol for one in choose_instruments(universe, "btc-usdt@kraken,aapl")] == ["BTC-USDT@kraken", "AAPL"]


def test_an_instrument_is_named_once_for_each_venue() -> None:
    with pytest.raises(ValueError, match="BTC-USDT@kraken is there twice"):
        parse_universe(TWO_VENUES + '[[group]]\ntier = "mid"\nvenue = "kraken"\nsymbols = ["BTC"]\n')
    with pytest.raises(ValueError, match="BTC-USDT is there twice"):
        parse_universe(TWO_VENUES + '[[group]]\ntier = "mid"\nsymbols = ["BTC"]\n')


@pytest.mark.parametrize("name", ["BTC-USDT@", "BTC-USDT@a b", "BTC-USDT@kraken@binance"])
def test_a_venue_in_a_name_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="write the name of a venue after @"):
        Instrument.crypto(name)


def test_a_pair_at_a_venue_knows_both() -> None:
    one = Instrument.crypto("ETH-BTC@kraken")
    assert (one.symbol, one.base, one.quote, one.venue) == ("ETH-BTC@kraken", "ETH", "BTC", "kraken")
    assert plain_name(one.symbol) == "ETH-BTC"
