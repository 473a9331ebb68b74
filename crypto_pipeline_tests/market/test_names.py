"""Canonical names of instruments, and what is refused as one."""

import pytest

from crypto_pipeline.market import Instrument
from crypto_pipeline.market.instruments import find_symbol


@pytest.mark.parametrize("name", ["币安人生-USDT", "AAPLx-USD", "1000SHIB-USDT", "ß-USDT", "$WIF-USDT", "BRK.B-USD"])
def test_names_are_kept_as_venues_have_them(name: str) -> None:
    instrument = Instrument.crypto(name)
    assert (instrument.symbol, f"{instrument.base}-{instrument.quote}") == (name, name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BTC USDT", "write BASE-QUOTE"),
        ("BTC-US DT", "' ' cannot stand in a name"),
        ("BTC-USDT@kra ken", "write the name of a venue after @"),
        ("A-B-C", "write BASE-QUOTE"),
        ("BTC-", "write BASE-QUOTE"),
        ("../x-USDT", "'/' cannot stand"),
        ("A" * 70 + "-USDT", "64 are the most"),
    ],
)
def test_what_is_no_name_is_refused_in_one_plain_line(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        Instrument.crypto(name)
    assert "\n" not in str(refused.value)
    assert "validation error" not in str(refused.value)


def test_capitals_do_not_matter_where_only_one_name_can_be_meant() -> None:
    known = ["BTC-USDT", "AAPLx-USD", "币安人生-USDT", "ß-USDT", "SS-USDT"]
    assert find_symbol("btc-usdt", known) == "BTC-USDT"
    assert find_symbol("aaplx-usd", known) == "AAPLx-USD"
    assert find_symbol("币安人生-usdt", known) == "币安人生-USDT"
    assert find_symbol("ß-usdt", known) == "ß-USDT", "its capitals would be another name"
    assert find_symbol("AAPLX-USD", [*known, "AAPLX-USD"]) == "AAPLX-USD"
    assert find_symbol("aaplx-usd", [*known, "AAPLX-USD"]) is None
    assert find_symbol("ETH-USDT", known) is None
