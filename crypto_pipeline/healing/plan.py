"""What is expected by the settings, what is missing of it, and what of that may be requested now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.market import expected_cells
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import Span, intersect, subtract, whole_cells
from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.absent.missing import (
    EXPLAINED,
    OPEN_UNEXPLAINED,
    Horizon,
    cells_in,
    ledger_spans,
    missing,
    open_rows,
)
from crypto_pipeline.settings import Settings, SettingsError
from crypto_pipeline.store import Store

__all__ = [
    "EXPLAINED", "OPEN_UNEXPLAINED", "Horizon", "due", "ledger_spans", "lost_in_archive", "missing",
    "refresh_expected", "retention_policy",
]  # fmt: skip


def retention_policy(settings: Settings) -> RetentionPolicy:
    """The retention policy of the settings. Raises SettingsError when settings contradict each other."""
    try:
        return RetentionPolicy.of(
            settings.keep_hot_days,
            settings.keep_days,
            settings.keep_trades_days,
            settings.keep_trades_archived_days,
            settings.keep_min_bars,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


def refresh_expected(store: Store, instruments: pl.DataFrame, horizon: Horizon, timeframes: Sequence[Timeframe]) -> int:
    """Bring ``coverage.expected`` up to date; only cells whose figure changed are written. Returns how many.

    ``instruments`` has ``instrument`` and ``calendar``. Instruments of one calendar expect the same bars: these are
    computed once for each calendar and compared in the database. Raises StoreError.
    """
    changed = 0
    for (calendar,), rows in instruments.partition_by("calendar", as_dict=True).items():
        example = pl.DataFrame({"instrument": ["any"], "calendar": [calendar]})
        wanted = pl.concat(
            expected_cells(example, one, horizon.first_open(one), horizon.now, horizon.settle) for one in timeframes
        )
        changed += store.coverage.set_expected_alike(rows["instrument"].to_list(), wanted)
    return changed


def lost_in_archive(
    store: Store, timeframe: Timeframe, bounds: Span, instruments: Sequence[str], horizon: Horizon
) -> pl.DataFrame:
    """Spans of archived days that the ledger calls lost: they are requested again only when a person names them."""
    start, end = horizon.clip(timeframe, *bounds)
    archived = cells_in(store, timeframe, (start, end), instruments, pl.col("archived") > 0)
    if archived is None:
        return span.empty_spans()
    days = whole_cells(archived, timeframe).select("instrument", "start", "end")
    return span.clip(intersect(ledger_spans(store, timeframe, OPEN_UNEXPLAINED, days), days), start, end)


def due(store: Store, timeframe: Timeframe, wanted: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """What of ``wanted`` may be requested now: without holes whose next attempt lies ahead."""
    if wanted.is_empty():
        return wanted
    waiting = open_rows(store, timeframe, OPEN_UNEXPLAINED, wanted).filter(pl.col("next_attempt") > now)
    return subtract(wanted, waiting.select(*span.SPAN_SCHEMA))
