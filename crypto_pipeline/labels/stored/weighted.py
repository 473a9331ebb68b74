"""The labels that models learn from: of one parameter set, or of a wide and a default one together, with their share of
the market.

``market_uniqueness`` is no stored column. A label's share depends on every label of every other instrument that lives
at the same time: one healed bar of one instrument would rewrite rows of all of them, and a history of such rewrites.
So it is computed from the labels as they stood at a moment, where it is used. The same moment gives the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.labels.uniqueness import market_uniqueness
from crypto_pipeline.lake.reads.labels import label_reads
from crypto_pipeline.store import Store, StoreError


def weighted_labels(
    store: Store,
    strategy: Strategy,
    parameters: Parameters,
    default: Parameters,
    start: datetime,
    end: datetime,
    as_of: datetime,
    instruments: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Labels of signals in ``[start, end)`` as they stood at ``as_of``, sorted by signal and instrument.

    Columns: those of the strategy's stored labels, ``is_default`` (Boolean) and ``market_uniqueness`` (0 to 1). The
    rows are the labels of ``default``, marked as such, and those of ``parameters`` at all other signals; one set alone
    is given as both. ``market_uniqueness`` counts the labels of these two of every instrument, also those of signals
    before ``start`` and from ``end`` on, and those of instruments that were not asked for (None: all).

    Raises StoreError for an unknown instrument.
    """
    wanted = pl.col("signal_ts").is_between(start, end, closed="left")
    if instruments is not None:
        known = {row.instrument.symbol for row in store.instruments.list(active_only=False)}
        if unknown := [name for name in instruments if name not in known]:
            raise StoreError(f"unknown instrument {unknown[0]!r}: see `crypto-pipeline instruments list`")
        wanted &= pl.col("instrument").is_in(list(instruments))
    # Whoever overlaps a label of the span has its signal within a horizon of the span.
    reach = TIMEFRAME.delta * (max(parameters.horizon, default.horizon) + 1)
    labels = _of_both(store, strategy, parameters, default, start - reach, end + reach, as_of)
    width = TIMEFRAME.milliseconds
    entry = labels["entry_ts"].to_physical().to_numpy() // width
    bars = labels["label_end_ts"].to_physical().to_numpy() // width - entry
    shares = pl.Series("market_uniqueness", market_uniqueness(entry, bars), dtype=pl.Float64)
    return labels.with_columns(shares).filter(wanted)


def _of_both(
    store: Store,
    strategy: Strategy,
    parameters: Parameters,
    default: Parameters,
    start: datetime,
    end: datetime,
    as_of: datetime,
) -> pl.DataFrame:
    table = strategy.definition.table
    judged = label_reads(store).read(table, default.hash, start, end, as_of=as_of).with_columns(is_default=pl.lit(True))
    if parameters.hash == default.hash:
        return judged
    wide = (
        label_reads(store).read(table, parameters.hash, start, end, as_of=as_of).with_columns(is_default=pl.lit(False))
    )
    other = wide.join(judged.select("instrument", "signal_ts"), on=["instrument", "signal_ts"], how="anti")
    return pl.concat([judged, other]).sort("signal_ts", "instrument")
