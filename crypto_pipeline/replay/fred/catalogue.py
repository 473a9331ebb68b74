"""The series that the replayed FRED has: their facts, and how the generated ones behave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

from crypto_pipeline.replay.fred.series import Facts

_EARLY, _LATE = time(8, 30), time(16, 15)
_SA, _NSA = "SA", "NSA"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a generated series behaves.

    ``start``: its first value. ``growth``: mean change of a period, a fraction, or points where ``percent``; ``spread``
    is the deviation of that change. ``lag``: days from a period's end to its first value. ``revised``: in how many of
    the next publications a value is revised. ``noise``: deviation of a first value, a fraction or points.
    ``benchmark``: the month in which the last five years are revised each year; 0: none. ``digits`` after the point.
    """

    facts: Facts
    start: float
    growth: float
    spread: float
    lag: int
    revised: int
    noise: float
    benchmark: int
    digits: int

    @property
    def percent(self) -> bool:
        """Its values are percentages."""
        return self.facts.units_short == "%"


def _facts(
    series_id: str, title: str, units: str, frequency: str, adjusted: str, release: tuple[int, str], hour: time
) -> Facts:
    names = {"D": "Daily", "M": "Monthly", "Q": "Quarterly"}
    short = "%" if units == "Percent" else units
    return Facts(series_id, title, units, short, names[frequency], frequency, adjusted, *release, hour)


_H15 = (18, "H.15 Selected Interest Rates")
CATALOGUE = {
    shape.facts.series_id: shape
    for shape in (
        Shape(
            _facts("GDP", "Gross Domestic Product", "Billions of Dollars", "Q", "SAAR",
                   (53, "Gross Domestic Product"), _EARLY),
            10_000.0, 0.011, 0.006, 28, 2, 0.004, 9, 3,
        ),
        Shape(
            _facts("CPIAUCSL", "Consumer Price Index for All Urban Consumers: All Items in U.S. City Average",
                   "Index 1982-1984=100", "M", _SA, (10, "Consumer Price Index"), _EARLY),
            169.3, 0.002, 0.002, 11, 0, 0.001, 2, 3,
        ),
        Shape(
            _facts("UNRATE", "Unemployment Rate", "Percent", "M", _SA, (50, "Employment Situation"), _EARLY),
            5.0, 0.0, 0.18, 4, 1, 0.06, 1, 1,
        ),
        Shape(_facts("FEDFUNDS", "Federal Funds Effective Rate", "Percent", "M", _NSA, _H15, _LATE),
              4.0, 0.0, 0.15, 0, 0, 0.0, 0, 2),
        Shape(
            _facts("UMCSENT", "University of Michigan: Consumer Sentiment", "Index 1966:Q1=100", "M", _NSA,
                   (91, "Surveys of Consumers"), time(10)),
            90.0, 0.0, 0.03, 26, 1, 0.01, 0, 1,
        ),
        Shape(_facts("M2SL", "M2", "Billions of Dollars", "M", _SA, (21, "H.6 Money Stock Measures"), _LATE),
              4_700.0, 0.005, 0.004, 24, 2, 0.001, 2, 1),
        Shape(
            _facts("DGS10", "Market Yield on U.S. Treasury Securities at 10-Year Constant Maturity", "Percent", "D",
                   _NSA, _H15, _LATE),
            4.5, 0.0, 0.05, 0, 0, 0.0, 0, 2,
        ),
        Shape(_facts("DFF", "Federal Funds Effective Rate", "Percent", "D", _NSA, _H15, _LATE),
              4.0, 0.0, 0.03, 1, 0, 0.0, 0, 2),
    )
}  # fmt: skip
