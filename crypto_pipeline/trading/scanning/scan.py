"""Scans: one row per closed bar, instrument and strategy, with its decision and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Ints, Panel
from crypto_pipeline.labels.compute import SetupContext, enterable
from crypto_pipeline.labels.setups import conditions_of, setup_frame
from crypto_pipeline.labels.strategies.base import WARM_UP, Parameters, SetupBars
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store.trading.scan_columns import SCAN_SCHEMA, ScanConditions
from crypto_pipeline.trading.scanning.judging import Judgement, judge


class ScanDecision(StrEnum):
    """What a scan decided."""

    TAKE = "TAKE"
    SKIP = "SKIP"
    NEAR_MISS = "NEAR_MISS"


#: Reasons beside the name of the one condition that a NEAR_MISS failed.
SETUP, CONDITIONS, WARM, BAR_MISSING = "setup", "conditions", "warm_up", "bar_missing"


@dataclass(frozen=True, slots=True)
class MarketBars:
    """Regime and stress of the benchmark's market per 15m bar of a panel, as features number them; NaN: not known."""

    regime: Floats
    stress: Floats

    @classmethod
    def unknown(cls, width: int) -> MarketBars:
        """Nothing is known of the market."""
        return cls(np.full(width, np.nan), np.full(width, np.nan))


@dataclass(frozen=True, slots=True)
class Scans:
    """Scans of one strategy (in SCAN_SCHEMA, sorted by bar and instrument), and its setups as
    ``labels.compute.find_setups`` gives them.
    """

    rows: pl.DataFrame
    setups: pl.DataFrame


def scan(
    strategy: Strategy,
    panel: Panel,
    context: SetupContext,
    parameters: Parameters,
    tiers: Sequence[str],
    market: MarketBars,
    first: int,
) -> Scans:
    """Scan the bars of ``panel`` from place ``first`` on, as each is known at its own close.

    The same bars give the same rows whatever follows them, so a bar that has just closed is scanned as it is later in a
    span. An instrument has rows from its first bar on. ``tiers``: one per instrument of the panel.
    """
    able = enterable(panel)
    bars = SetupBars(panel, able, context.halted, context.hours, tiers)
    began = panel.first()[:, None]
    places = np.arange(panel.width)
    inside = (places >= first) & (places >= began)
    present = ~np.isnan(panel.close)
    judged = np.flatnonzero(inside & present & (places >= began + WARM_UP))
    found = judge(strategy.definition, bars, parameters, judged)
    taken = found.met.all(axis=1)
    setups = setup_frame(
        bars, found.measured, judged[taken], {name: values[taken] for name, values in found.late.items()}
    )
    rows = pl.concat(
        [
            _judged(found, parameters, setups),
            _unjudged(np.flatnonzero(inside & present & (places < began + WARM_UP)), WARM),
            _unjudged(np.flatnonzero(inside & ~present), BAR_MISSING),
        ]
    )
    return Scans(_named(rows, strategy, panel, parameters, market), setups)


def _judged(found: Judgement, parameters: Parameters, setups: pl.DataFrame) -> pl.DataFrame:
    failures = (~found.met).sum(axis=1)
    bits = (~found.met) @ (1 << np.arange(len(found.conditions)))
    names = np.array([condition.name for condition in found.conditions], dtype=object)
    reason = np.full(len(found.rows), CONDITIONS, dtype=object)
    reason[failures == 1] = names[np.argmin(found.met[failures == 1], axis=1)]
    reason[failures == 0] = SETUP
    decision = np.select([failures == 0, failures == 1], [ScanDecision.TAKE, ScanDecision.NEAR_MISS], ScanDecision.SKIP)
    metadata = np.full(len(found.rows), None, dtype=object)
    metadata[failures == 0] = [_json(row) for row in setups.drop("number", "place").iter_rows(named=True)]
    return pl.DataFrame(
        {
            "row": found.rows,
            "decision": pl.Series(decision.tolist(), dtype=pl.String),
            "reason": pl.Series(reason.tolist(), dtype=pl.String),
            "failed": pl.Series(bits, dtype=pl.Int32),
            "values": _lists(found.values),
            "confidence_score": pl.Series(found.nearness(parameters)).cast(pl.Float32),
            "metadata": pl.Series(metadata.tolist(), dtype=pl.String),
        }
    )


def _lists(values: Floats) -> pl.Series:
    """A list per row."""
    flat = pl.Series(values, dtype=pl.Array(pl.Float64, values.shape[1]))
    return flat.cast(SCAN_SCHEMA["values"])


def _json(measures: dict[str, float]) -> str:
    known = {name: None if value != value else value for name, value in measures.items()}
    return json.dumps(known, separators=(",", ":"))


def _unjudged(rows: Ints, reason: str) -> pl.DataFrame:
    return pl.DataFrame({"row": rows}).with_columns(
        pl.lit(str(ScanDecision.SKIP)).alias("decision"),
        pl.lit(reason).alias("reason"),
        *(pl.lit(None, SCAN_SCHEMA[name]).alias(name) for name in ("failed", "values", "confidence_score", "metadata")),
    )


def _named(
    rows: pl.DataFrame, strategy: Strategy, panel: Panel, parameters: Parameters, market: MarketBars
) -> pl.DataFrame:
    numbers, places = np.divmod(rows["row"].to_numpy(), panel.width)
    states = {"market_regime": market.regime, "stress": market.stress}
    named = rows.with_columns(
        pl.lit(str(strategy)).alias("strategy"),
        pl.Series("instrument", panel.names, dtype=pl.String).gather(numbers),
        pl.Series("signal_ts", panel.times(places)).cast(UTC_MS),
        pl.lit(parameters.hash).alias("params_hash"),
        *(pl.Series(name, values[places]).fill_nan(None).cast(pl.Int16) for name, values in states.items()),
    )
    return named.select(*SCAN_SCHEMA).sort("signal_ts", "instrument")


def conditions_for(strategy: Strategy, parameters: Parameters) -> ScanConditions:
    """The conditions behind the scans of a strategy, as they are stored."""
    conditions = conditions_of(strategy.definition, parameters)
    return ScanConditions(
        str(strategy),
        parameters.hash,
        tuple(one.name for one in conditions),
        tuple(str(one.comparison) for one in conditions),
        tuple(float(one.threshold(parameters)) for one in conditions),
        tuple(one.about for one in conditions),
    )
