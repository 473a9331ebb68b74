"""Predictions whose label has ended, beside what came of them: the only rows that say how good a model in use is."""

from __future__ import annotations

import polars as pl

from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store import Store

#: The newest predictions that are looked at.
MOST = 10_000
SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "signal_ts": UTC_MS,
    "model_id": pl.String(),
    "probability": pl.Float64(),
    "p_star": pl.Float64(),
    "decision": pl.String(),
}


def matured_predictions(
    store: Store, strategy: Strategy, parameters: Parameters, model_id: str | None = None
) -> pl.DataFrame:
    """Predictions of setups of ``parameters`` whose label is stored, by signal; refusals are left out.

    Columns: those of SCHEMA, ``available_at`` (close of the signal bar, UTC), ``y`` (Int8: net return above 0) and
    ``net_return``. ``model_id``: only those of this model. At most the MOST newest predictions are looked at.
    """
    found = [
        (row.instrument, row.signal_ts, row.model_id, row.probability, row.p_star, row.decision)
        for row, _ in store.models.predictions.read(strategy=str(strategy), limit=MOST)
        if row.probability is not None and row.params_hash == parameters.hash and model_id in (None, row.model_id)
    ]
    made = pl.DataFrame(found, schema=SCHEMA, orient="row")
    first, last = made["signal_ts"].min(), made["signal_ts"].max()
    if made.is_empty():
        labels = pl.DataFrame(schema={"instrument": pl.String(), "signal_ts": UTC_MS, "net_return": pl.Float64()})
    else:
        table = strategy.definition.table
        labels = store.labels.read(table, parameters.hash, first, last + TIMEFRAME.delta)  # type: ignore[arg-type, operator]
    joined = made.join(
        labels.select("instrument", "signal_ts", "net_return"), on=["instrument", "signal_ts"], how="inner"
    )
    return joined.with_columns(
        (pl.col("signal_ts") + TIMEFRAME.delta).alias("available_at"),
        (pl.col("net_return") > 0).cast(pl.Int8).alias("y"),
    ).sort("signal_ts", "instrument")
