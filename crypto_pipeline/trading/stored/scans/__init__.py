"""Scans where they meet the store: passes over closed bars, spans of the past, checks, and why there is no trade.

What others need of it stands here; what scans are computed from is in ``inputs``.
"""

from crypto_pipeline.trading.stored.scans.passes import (
    ScanPass,
    ScanReport,
    scan_pass,
    scan_span,
    scan_weeks,
    traded_parameters,
)

__all__ = ["ScanPass", "ScanReport", "scan_pass", "scan_span", "scan_weeks", "traded_parameters"]
