"""Hints of messages about unknown names."""

from __future__ import annotations

from crypto_pipeline.market.near_names import did_you_mean, near_names

KNOWN = ["BTC-USDT", "ETH-USDT", "AAPLx-USD"]


def test_the_nearest_come_first_whatever_their_capitals() -> None:
    assert near_names("btc-usd", KNOWN)[0] == "BTC-USDT"
    assert near_names("AAPLX-USD", KNOWN, 1) == ["AAPLx-USD"]
    assert near_names("zzz", KNOWN) == []


def test_the_hint_names_all_or_is_empty() -> None:
    assert did_you_mean(["A", "B"]) == "did you mean A or B?"
    assert did_you_mean([]) == ""
