"""Whether the stored labels may be used: final, current, and enough of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.features.stored.update import BENCHMARK, Universe, lacks_benchmark
from crypto_pipeline.labels.stored.signals import Signals
from crypto_pipeline.labels.stored.update import due_cells_of_sets, traded
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.store import Store

#: Least numbers for a model to learn from, beside the setting ``label_events``.
LEAST_CLASS, LEAST_DAYS, LEAST_INSTRUMENTS = 100, 60, 20


CHECKS = {
    "label_finality": "No label is told before its horizon has ended, and none that could be told still waits.",
    "labels_current": "Every label rests on the bars as they are now: none was computed from bars that changed since.",
    "benchmark": "The instrument whose crashes stop entries is collected: without it there are no setups.",
    "too_few_events": "There are enough labels, of both kinds, over enough days and instruments, to learn from.",
}


def checks_of(strategy: Strategy) -> dict[str, str]:
    """The checks of one strategy with the promise of each; ``benchmark`` only where the strategy looks at it."""
    return {name: text for name, text in CHECKS.items() if name != "benchmark" or strategy.definition.uses_benchmark}


def check_labels(
    store: Store,
    strategy: Strategy,
    sets: Mapping[str, Parameters],
    span: tuple[datetime, datetime],
    history: tuple[datetime, datetime],
    now: datetime,
    least: int,
    benchmark: str = BENCHMARK,
) -> list[CheckOutcome]:
    """The checks of CHECKS over the labels of signals in ``history``; whether they are current, over ``span``.

    ``sets``: by name, the default one first: each must be final and current; there must be enough of all together.
    ``benchmark``: the setting ``feature_benchmark``.
    """
    labels = {
        name: store.labels.read(strategy.definition.table, parameters.hash, *history)
        for name, parameters in sets.items()
    }
    ended = [finality(store, Signals(strategy, sets[name], *history, now), of_set) for name, of_set in labels.items()]
    due = due_cells_of_sets(store, strategy, sets, span, now, traded(store), benchmark=benchmark)
    kept = [current(strategy, cells) for cells in due.values()]
    return [
        _of_sets(list(sets), ended),
        _of_sets(list(sets), kept),
        *([has_benchmark(store, strategy, benchmark)] if "benchmark" in checks_of(strategy) else []),
        enough(strategy, list(labels.values()), history[1] - history[0], least),
    ]


def _of_sets(names: Sequence[str], outcomes: Sequence[CheckOutcome]) -> CheckOutcome:
    """One outcome of those of several sets: the first error, else the first warning, else that of the first set."""
    failed = [(one.severity != "error", place) for place, one in enumerate(outcomes) if not one.passed]
    if not failed:
        return outcomes[0]
    _, place = min(failed)
    named = f" (set {names[place]})" if place else ""
    return replace(outcomes[place], summary=f"{outcomes[place].summary}{named}")


def finality(store: Store, signals: Signals, labels: pl.DataFrame) -> CheckOutcome:
    """Labels stored before their horizon ended are an error; cells that wait a day longer than it are a warning."""
    strategy, parameters, now = signals.strategy, signals.parameters, signals.now
    limit = pl.col("entry_ts") + TIMEFRAME.delta * pl.col("horizon")
    early = labels.filter(
        (limit > now)
        | (pl.col("label_end_ts") > limit)
        | (pl.col("recorded_at") < limit.cast(pl.Datetime("us", "UTC")))
    )
    late = store.labels.cells(strategy, parameters.hash, signals.start, signals.end).filter(
        (pl.col("waiting") > 0)
        & (
            pl.col("day").cast(pl.Datetime("ms", "UTC")) + timedelta(days=2) + TIMEFRAME.delta * parameters.horizon
            < now
        )
    )
    if early.height:
        words = f"{early.height} {strategy} labels were told before their horizon had ended"
        return CheckOutcome("label_finality", strategy, False, "error", words, early)
    if late.height:
        words = f"{int(late['waiting'].sum())} {strategy} labels wait for bars although their horizon ended a day ago"
        offenders = late.select("instrument", "day", "setups", "labels", "waiting")
        return CheckOutcome("label_finality", strategy, False, "warning", words, offenders)
    words = f"{labels.height} {strategy} labels, each told after its horizon"
    return CheckOutcome("label_finality", strategy, True, "error", words, early)


def current(strategy: Strategy, outdated: pl.DataFrame) -> CheckOutcome:
    """Instrument-days that are to be computed, or computed again, as ``due_cells`` gives them."""
    stale = outdated.filter(pl.col("reason") == "stale").height
    words = f"{stale} instrument-days of {strategy} labels rest on bars that changed, {outdated.height - stale} are new"
    if outdated.is_empty():
        words = f"every {strategy} label rests on the bars as they are"
    offenders = outdated.select("instrument", "day", "reason")
    return CheckOutcome("labels_current", strategy, outdated.is_empty(), "warning", words, offenders)


def has_benchmark(store: Store, strategy: Strategy, benchmark: str) -> CheckOutcome:
    """Whether the benchmark is collected."""
    universe = Universe.from_store(store, benchmark)
    lacking = lacks_benchmark(universe, benchmark)
    name = universe.benchmark
    said = f"{strategy} entries stop when {name} crashes or panics" if name else "there is none, as the setting says"
    return CheckOutcome("benchmark", strategy, lacking is None, "warning", lacking or said, pl.DataFrame())


def enough(strategy: Strategy, sets: Sequence[pl.DataFrame], history: timedelta, least: int) -> CheckOutcome:
    """Counts of events, classes, days and instruments. A history too short to reach them is not judged.

    ``sets``: labels of each parameter set that models learn on, the default one first; a signal of two counts once.
    """
    key = ["instrument", "signal_ts"]
    labels = pl.concat([one.select(*key, "net_return") for one in sets]).unique(key, keep="first")
    wins = labels.filter(pl.col("net_return") > 0).height
    days = labels["signal_ts"].dt.date().n_unique()
    instruments = labels["instrument"].n_unique()
    of_default = f", {sets[0].height} of the default set" if len(sets) > 1 else ""
    counted = f"{labels.height} {strategy} labels ({wins} won{of_default}), {days} days, {instruments} instruments"
    by_instrument = labels.group_by("instrument").len("labels").sort("instrument")
    if history < timedelta(days=LEAST_DAYS):
        words = f"{counted}: not judged, the span is shorter than {LEAST_DAYS} days"
        return CheckOutcome("too_few_events", strategy, True, "warning", words, by_instrument)
    few = [
        f"{what} {have} of {need}"
        for what, have, need in (
            ("events", labels.height, least),
            ("winners", wins, LEAST_CLASS),
            ("losers", labels.height - wins, LEAST_CLASS),
            ("days", days, LEAST_DAYS),
            ("instruments", instruments, LEAST_INSTRUMENTS),
        )
        if have < need
    ]
    words = f"{counted}: too few to learn from ({', '.join(few)})" if few else counted
    return CheckOutcome("too_few_events", strategy, not few, "warning", words, by_instrument)


def example_of(labels: pl.DataFrame, tiers: Sequence[str] = ("large", "mid", "meme")) -> dict[str, object] | None:
    """The newest label of the first tier that has labels, as a row to draw; None without labels."""
    for tier in tiers:
        of_tier = labels.filter(pl.col("tier") == tier)
        if of_tier.height:
            return of_tier.row(-1, named=True)
    return None
