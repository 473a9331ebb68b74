"""What the stored predictions say of signals: each was decided once, and is read as it was decided."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from crypto_pipeline.store import Store

_KEY = ["strategy", "instrument", "signal_ts", "params_hash"]


def with_predictions(
    store: Store, signals: pl.DataFrame, start: datetime, end: datetime, *, as_of: datetime | None = None
) -> pl.DataFrame:
    """``signals`` (SIGNAL_SCHEMA) with the predictions of signal bars that opened in ``[start, end)``, UTC.

    The columns and the order stay. ``as_of``: the predictions that were made by then. Raises StoreError.
    """
    if signals.is_empty():
        return signals
    predicted = store.models.predictions.answers(start, end, as_of=as_of)
    answers = [name for name in predicted.columns if name not in _KEY]
    return signals.drop(answers).join(predicted, on=_KEY, how="left", maintain_order="left").select(signals.columns)
