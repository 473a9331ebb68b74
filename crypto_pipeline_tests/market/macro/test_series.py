"""Names of macro series, and the choice among them."""

from __future__ import annotations

from datetime import date

import pytest

from crypto_pipeline.market.macro.series import choose_series, find_series, guess_frequency, next_period
from crypto_pipeline.settings import SettingsError, load_settings


def test_names_and_ids_are_the_same_series() -> None:
    assert find_series("cpi") == find_series("CPIAUCSL")
    assert find_series("DGS10").name == "DGS10"
    assert [one.name for one in choose_series("default, DGS10, cpiaucsl")] == [
        "GDP", "CPI", "UNEMPLOYMENT", "FED_RATE", "CONSUMER_CONFIDENCE", "DGS10",
    ]  # fmt: skip
    assert choose_series(None) == choose_series(" , ") == []


def test_what_is_no_series_is_named_with_the_fix() -> None:
    with pytest.raises(ValueError, match=r"'CP-I' is no macro series: use GDP, CPI, .* or an id of FRED"):
        choose_series("GDP,CP-I")
    with pytest.raises(SettingsError, match="CRYPTO_PIPELINE_MACRO_SERIES='u-nrate'"):
        load_settings(macro_series="u-nrate")


@pytest.mark.parametrize(
    ("frequency", "period", "after"),
    [
        ("D", date(2024, 2, 28), date(2024, 2, 29)), ("W", date(2024, 12, 30), date(2025, 1, 6)),
        ("M", date(2024, 12, 1), date(2025, 1, 1)), ("Q", date(2024, 10, 1), date(2025, 1, 1)),
        ("A", date(2024, 1, 1), date(2025, 1, 1)),
    ],
)  # fmt: skip
def test_the_next_period(frequency: str, period: date, after: date) -> None:
    assert next_period(period, frequency) == after
    steps = [period]
    for _ in range(12):
        steps.append(next_period(steps[-1], frequency))
    assert guess_frequency(steps) == frequency


def test_an_unknown_frequency_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown frequency 'X'"):
        next_period(date(2024, 1, 1), "X")
    assert guess_frequency([date(2024, 1, 1)]) == ""
