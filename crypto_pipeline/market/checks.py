"""The outcome of a check, in one form for every room: bars, features and labels are checked alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from crypto_pipeline.market.severity import Severity
from crypto_pipeline.market.timeframes import Timeframe


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """One evaluated check.

    ``subject`` is what was checked: a timeframe, a strategy, or ``features``. ``offenders`` names what fails (at least
    by ``instrument`` or ``feature``, one row each); it is empty when the check passed. ``figures`` are numbers for
    plots over time. ``detail`` (JSON-ready) is what the same check can be repeated from.
    """

    name: str
    subject: str
    passed: bool
    severity: Severity
    summary: str
    offenders: pl.DataFrame = field(default_factory=pl.DataFrame)
    figures: Mapping[str, float] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timeframe(self) -> Timeframe:
        """The subject as a timeframe. Raises ValueError for a check of anything else."""
        return Timeframe.parse(self.subject)
