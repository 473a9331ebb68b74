"""The settings of trading. They are part of ``Settings``."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from crypto_pipeline.operation_settings import OperationSettings


class TradingSettings(OperationSettings):
    """What ``Settings`` has about trading. Fractions, not percent; sums in the quote asset of the account."""

    # Trading
    paper_capital: Decimal = Field(
        Decimal(10_000), gt=0, description="What the paper account begins with, in its quote asset."
    )
    scan_deadline_seconds: float = Field(
        300.0, ge=0, description="A bar that is absent this long after its close is scanned without it (`bar_missing`)."
    )
    keep_scan_days: int = Field(30, ge=2, description="Days of scans that are kept row by row; at least 2.")
    keep_scan_count_days: int = Field(90, ge=2, description="Days of which scans are kept in numbers.")
