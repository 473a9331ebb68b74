"""Why there is a trade, or none: what was decided about one bar of an instrument, step by step, from what is stored."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from crypto_pipeline.features.definitions.regimes import Regime, Stress
from crypto_pipeline.labels.strategies.base import TIMEFRAME, WARM_UP
from crypto_pipeline.labels.strategies.conditions import Comparison
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.stored.shown import shown_prediction
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.trading.scan_columns import ScanConditions
from crypto_pipeline.trading.scanning.scan import BAR_MISSING, CONDITIONS, SETUP, WARM, ScanDecision, conditions_for
from crypto_pipeline.trading.stored.scans.followed import NOTHING_FOLLOWS, FollowUp, follow_up
from crypto_pipeline.trading.stored.scans.passes import scan_span, traded_parameters

#: Days whose scans are counted beside the one that was asked for.
COUNTED = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ConditionStep:
    """One condition. ``value`` is None where a bar of its window is absent, ``margin`` below 0 where it is not met."""

    name: str
    value: float | None
    comparison: str
    threshold: float
    margin: float | None
    met: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Why:
    """What was decided about one bar by one strategy.

    Attributes:
        instrument: Symbol.
        strategy: Name of the strategy.
        signal_ts: Open of the bar, UTC.
        decision: TAKE, SKIP or NEAR_MISS.
        reason: In a sentence.
        conditions: Each condition; empty where nothing was judged.
        regime: Of the market, in a word; None: not known.
        stress: The same.
        confidence_score: See ``trading.scan_history``.
        stored: False: the bar was not scanned then, or its scan is no longer kept; this is what it would have been.
        prediction: What the model said; None where it was not asked.
        model: The same in a sentence.
        follow_up: What risk decided and the paper broker booked.
    """

    instrument: str
    strategy: str
    signal_ts: datetime
    decision: str
    reason: str
    conditions: tuple[ConditionStep, ...]
    regime: str | None
    stress: str | None
    confidence_score: float | None
    stored: bool
    prediction: Mapping[str, Any] | None = None
    model: str = ""
    follow_up: FollowUp = NOTHING_FOLLOWS


@dataclass(slots=True)
class ScanCounts:
    """Scans of an instrument by a strategy in some days: how many, and how often each condition was in the way."""

    scans: int = 0
    takes: int = 0
    near_misses: int = 0
    unjudged: int = 0
    failures: Counter[str] = field(default_factory=Counter)


def explain(
    store: Store, settings: Settings, instrument: str, at: datetime | None = None, strategy: Strategy | None = None
) -> list[Why]:
    """What was decided about the last bar of ``instrument`` that had closed by ``at`` (UTC; default: the last one that
    was scanned), by each strategy or by one.

    Raises StoreError where nothing is known of that bar, in one line that says why.
    """
    signal_ts = _bar(store, at)
    end = signal_ts + TIMEFRAME.delta
    rows = store.trading.scans.read(signal_ts, end, [instrument])
    stored = not rows.is_empty()
    sets = traded_parameters(settings)
    conditions = {one.params_hash: one for one in (conditions_for(*each) for each in sets.items())}
    if stored:
        numbers = store.trading.scans.conditions()
        conditions = {
            params: numbers[number] for params, number in rows.select("params_hash", "condition_set").iter_rows()
        }
    else:
        rows = scan_span(store, settings, signal_ts, end, instruments=[instrument])
    if rows.is_empty():
        raise StoreError(_nothing(store, instrument, signal_ts))
    found = [
        _why(store, row, conditions[row["params_hash"]], stored)
        for row in rows.iter_rows(named=True)
        if strategy is None or row["strategy"] == str(strategy)
    ]
    order = [str(each) for each in Strategy]
    return sorted(found, key=lambda one: order.index(one.strategy))


def count(store: Store, instrument: str, until: datetime) -> dict[str, ScanCounts]:
    """Scans of the days before ``until`` (UTC), by strategy."""
    rows = store.trading.scans.read(until - COUNTED, until, [instrument])
    conditions, counts = store.trading.scans.conditions(), dict[str, ScanCounts]()
    for strategy, number, decision, failed, times in (
        rows.group_by("strategy", "condition_set", "decision", "failed").len().iter_rows()
    ):
        counted = counts.setdefault(strategy, ScanCounts())
        counted.scans += times
        counted.takes += times * (decision == ScanDecision.TAKE)
        counted.near_misses += times * (decision == ScanDecision.NEAR_MISS)
        counted.unjudged += times * (failed is None)
        for place, name in enumerate(conditions[number].names):
            counted.failures[name] += times * ((failed or 0) >> place & 1)
    return counts


def _bar(store: Store, at: datetime | None) -> datetime:
    now = store.clock.now()
    if at is not None:
        if at > now:
            raise StoreError(f"{at:%Y-%m-%d %H:%M} UTC is to come: it is {now:%Y-%m-%d %H:%M} UTC")
        return TIMEFRAME.floor(at) - TIMEFRAME.delta
    progress = store.trading.scans.progress()
    return (TIMEFRAME.floor(now) if progress is None else progress.scanned_until) - TIMEFRAME.delta


def _nothing(store: Store, instrument: str, signal_ts: datetime) -> str:
    head = f"nothing was scanned of {instrument} at {signal_ts:%Y-%m-%d %H:%M} UTC: "
    tiers = {row.instrument.symbol: str(row.instrument.tier) for row in store.instruments.list(active_only=False)}
    if tiers.get(instrument) not in {"large", "mid", "meme"}:
        return f"{head}its tier is {tiers.get(instrument)}, and only large, mid and meme are traded"
    newest = store.reader.latest([instrument], TIMEFRAME, columns=["open_time"])
    if newest.is_empty():
        return f"{head}it has no {TIMEFRAME} bars yet (`crypto-pipeline status`)"
    return f"{head}its bars begin later, or are no longer kept (`crypto-pipeline coverage`)"


def _why(store: Store, row: Mapping[str, Any], conditions: ScanConditions, stored: bool) -> Why:
    steps = () if row["values"] is None else _steps(row["values"], row["failed"], conditions)
    taken = row["decision"] == ScanDecision.TAKE
    prediction = _prediction(store, row) if taken else None
    return Why(
        instrument=row["instrument"],
        strategy=row["strategy"],
        signal_ts=row["signal_ts"],
        decision=row["decision"],
        reason=_reason(row["reason"], steps),
        conditions=steps,
        regime=_word(Regime, row["market_regime"]),
        stress=_word(Stress, row["stress"]),
        confidence_score=row["confidence_score"],
        stored=stored,
        prediction=prediction,
        model=_said_by_model(prediction, taken),
        follow_up=follow_up(store, row["strategy"], row["instrument"], row["signal_ts"]) if taken else NOTHING_FOLLOWS,
    )


def _steps(values: Sequence[float], failed: int, conditions: ScanConditions) -> tuple[ConditionStep, ...]:
    steps = []
    for place, value in enumerate(values):
        comparison, threshold = Comparison(conditions.comparisons[place]), conditions.thresholds[place]
        known = None if math.isnan(value) else value
        away = None if known is None else (known - threshold) * (1 if comparison.is_upward else -1)
        steps.append(
            ConditionStep(
                conditions.names[place], known, str(comparison), threshold, away, not failed >> place & 1,
                conditions.meanings[place],
            )
        )  # fmt: skip
    return tuple(steps)


def _reason(reason: str, steps: Sequence[ConditionStep]) -> str:
    wrong = [one.name for one in steps if not one.met]
    words = {
        SETUP: f"all {len(steps)} conditions are met",
        CONDITIONS: f"{len(wrong)} of {len(steps)} conditions are not met: {', '.join(wrong)}",
        WARM: f"fewer than {WARM_UP} bars of it lie before this one: indicators still depend on where it begins",
        BAR_MISSING: "its bar was absent when the time to wait for it was over",
    }
    return words.get(reason, f"one condition is not met: {reason}")


def _word(kind: type[Regime] | type[Stress], number: int | None) -> str | None:
    return None if number is None else kind(number).name.lower()


def _prediction(store: Store, row: Mapping[str, Any]) -> dict[str, Any] | None:
    end = row["signal_ts"] + TIMEFRAME.delta
    found = store.models.predictions.read([row["instrument"]], row["strategy"], row["signal_ts"], end, limit=1)
    return shown_prediction(*found[0]) if found else None


def _said_by_model(prediction: Mapping[str, Any] | None, taken: bool) -> str:
    if not taken:
        return "not asked: there is no setup"
    if prediction is None:
        return "no prediction is stored: the rules alone decide"
    if prediction["refused"] is not None:
        return f"refused ({prediction['refused']}): {prediction['refusal']}; the rules alone decide"
    return (
        f"probability {prediction['probability']:.4f}, break-even {prediction['p_star']:.4f}; {prediction['ml_mode']}: "
        f"{prediction['decision']}, size × {prediction['size_factor']:.2f} (model {prediction['model_id']})"
    )
