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
