"""Models and forecasts: what is in use and how old it is, and how what was predicted came out."""

from __future__ import annotations

import math

import polars as pl

from crypto_pipeline.labels.parameters import DEFAULT, parameter_sets
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.decision import modes
from crypto_pipeline.models.judging.modes import compare_modes, recommend
from crypto_pipeline.models.stored.matured import matured_predictions
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.ops.reports.content import ReportSection, ReportTable
from crypto_pipeline.ops.reports.source import ReportSource

_DAY = 86_400.0
#: Days after which the data of a model in use is old.
_OLD = 45.0


def ages(source: ReportSource) -> ReportSection:
    """The model in use of each strategy, the age of what it learned from, and the last decision about it."""
    registry, now, chosen = Registry(source.store), source.market_now, modes(source.settings.ml_mode)
    rows, old = [], []
    for strategy in Strategy:
        model = registry.named(strategy, "champion")
        decisions = source.store.models.decisions(str(strategy))
        age = None if model is None else (now - model.trained_until).total_seconds() / _DAY
        if age is not None and age > _OLD:
            old.append(str(strategy))
        last = decisions[0] if decisions else None
        told = None if last is None else f"{last.kind}: {'put in use' if last.promoted else 'kept out'}"
        age_days = None if age is None else round(age, 1)
        name = None if model is None else model.model_id[:12]
        rows.append((str(strategy), name, age_days, chosen[strategy], told, None if last is None else last.market_time))
    used = sum(row[1] is not None for row in rows)
    said = f"{used} of {len(rows)} strategies have a model in use; the others go by their rules."
    if old:
        said = f"Old models: {', '.join(old)} learned from data that ended more than {_OLD:.0f} days ago."
    table = ReportTable(("strategy", "model", "age in days", "mode", "last decision", "on (UTC)"), rows)
    return ReportSection("models", "Models", said, "bad" if old else "plain", [table])


def matured(source: ReportSource) -> ReportSection:
    """Share of wins against what was predicted, and what each mode would have earned, on matured predictions."""
    sets, chosen = parameter_sets(source.settings.label_parameters)[DEFAULT], modes(source.settings.ml_mode)
    won, compared, said = [], [], []
    for strategy in Strategy:
        found = matured_predictions(source.store, strategy, sets[strategy])
        if found.is_empty():
            continue
        results = compare_modes(found)
        said.append(f"{strategy}: {recommend(results, found.height, chosen[strategy])}.")
        wins, predicted = found["y"].mean(), found["probability"].mean()
        won.append((str(strategy), found.height, _percent(wins), _percent(predicted)))
        compared += [
            (str(strategy), one.mode, one.trades, *map(_percent, one.net), _rounded(one.better_than_off))
            for one in results
        ]
    if not won:
        return ReportSection("predictions", "Predictions that have matured", "None has matured yet.")
    tables = [
        ReportTable(("strategy", "matured", "won, %", "predicted, %"), won),
        ReportTable(
            ("strategy", "mode", "trades", "net per signal, %", "from", "to", "better than off"), compared, "Modes"
        ),
    ]
    return ReportSection("predictions", "Predictions that have matured", " ".join(said), "plain", tables)


def forecasts(source: ReportSource) -> ReportSection:
    """How often the intervals of expired forecasts held, and their loss beside naive, by horizon."""
    title, number = "Forecasts that have expired", pl.col("forecasts")
    accuracy = source.store.forecasts.accuracy()
    if accuracy.is_empty():
        return ReportSection("forecasts", title, "None has expired yet: there is no accuracy to show.")
    shares = [(pl.col(name) * number).sum() / number.sum() for name in ("coverage_80", "coverage_95")]
    loss = pl.col("pinball").dot(number) / pl.col("naive_pinball").dot(number)
    by_horizon = accuracy.group_by("horizon", maintain_order=True).agg(number.max(), *shares, loss)
    rows = [
        (name, count, _percent(low), _percent(high), round(ratio, 3))
        for name, count, low, high, ratio in by_horizon.rows()
    ]
    table = ReportTable(("horizon", "forecasts", "80 % held, %", "95 % held, %", "loss ÷ naive"), rows)
    said = f"{sum(row[1] for row in rows):,} forecasts have been scored against what came."
    return ReportSection("forecasts", title, said, "plain", [table])


def _percent(share: object) -> float | None:
    return round(100 * share, 2) if isinstance(share, float) and not math.isnan(share) else None


def _rounded(share: float) -> float | None:
    return None if math.isnan(share) else round(share, 2)
