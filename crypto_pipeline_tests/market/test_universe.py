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
