"""The settings of trading. They are part of ``Settings``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import Field

from crypto_pipeline.operation_settings import OperationSettings


class TradingSettings(OperationSettings):
    """What ``Settings`` has about trading. Fractions, not percent; sums in the quote asset of the account."""

    # Trading
    paper_capital: Decimal = Field(
        Decimal(10_000), gt=0, description="What the paper account begins with, in its quote asset."
    )
    paper_currency: str = Field(
        "USDT", min_length=1, description="That quote asset; signals of instruments with another one are rejected."
    )
    trading_parameters: dict[str, Any] = Field(
        default={},
        description="What differs from the defaults of sizes, limits and guards "
        '({"max_open": 3, "daily_loss": 0.03}): docs/trading.md has the list.',
    )
    broker: str = Field(
        "paper", description="Who carries out taken signals: `paper`, `ccxt_NAME`, `hummingbot`. See docs/brokers.md."
    )
    broker_url: str | None = Field(
        None, description="Address of an exchange in the place of the broker's own, or of Hummingbot's API."
    )
    broker_connector: str = Field("binance", description="Hummingbot's name of the exchange.")
    scan_deadline_seconds: float = Field(
        300.0, ge=0, description="A bar that is absent this long after its close is scanned without it (`bar_missing`)."
    )
    keep_scan_days: int = Field(30, ge=2, description="Days of scans that are kept row by row; at least 2.")
    keep_scan_count_days: int = Field(90, ge=2, description="Days of which scans are kept in numbers.")
