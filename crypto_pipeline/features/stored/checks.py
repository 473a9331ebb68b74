"""The checks of stored features: each reads the store, computes rows again where needed, and names the offenders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.features import drift
from crypto_pipeline.features.compute import LOOK_BACK, NAMES, ROW_SCHEMA, Bars, Compute, compute_features
from crypto_pipeline.features.leaks import PARITY_TOLERANCE, Proof, compare, leak_check, spreads, summed, warm_up_check
from crypto_pipeline.features.stored.update import (
    BENCHMARK,
    Universe,
    features_as_of,
    lacks_benchmark,
    read_bars,
    stale_days,
)
from crypto_pipeline.lake.reads.features import feature_reads
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.severity import Severity
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: What the checks are about: the ``subject`` of their outcomes.
SUBJECT = "features"
CHECKS = {
    "no_leak": "No row knows what came later: computed again by a fresh process from bars cut short, all are equal.",
    "warm_up": "No feature needs more bars than it declares.",
    "parity": "Rows that the live path wrote equal those computed from the bars known at that time.",
    "benchmark": "The instrument that market features refer to is collected.",
    "up_to_date": "Every past day's features were computed from the bars that are stored now.",
    "null_share": "No feature is null more often than in the days before.",
    "range": "No feature leaves what its formula allows, or far too often what it was before.",
    "drift": "No more features drift, by their own history of PSI, than chance explains.",
}
#: How much a check computes again: instruments besides the benchmark, and days of rows.
SAMPLE_INSTRUMENTS, SAMPLE_DAYS = 5, 2
#: Live closes that the parity check computes again.
SAMPLE_CLOSES = 6
#: History that nulls and ranges, and drift, are compared with.
RANGE_DAYS, DRIFT_DAYS = 14, 90
#: Of independent features one in a hundred drifts by chance; they are not independent.
DRIFTED_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows that a check looked at.

    Attributes:
        start: Begin of the span, UTC.
        end: Its end, not included, UTC.
        seed: With which a sample was drawn from the span.
    """

    start: datetime
    end: datetime
    seed: int

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> Sample | None:
        """The sample that `as_detail` described; None where the detail has none."""
        if not {"start", "end", "seed"} <= detail.keys():
            return None
        return cls(datetime.fromisoformat(detail["start"]), datetime.fromisoformat(detail["end"]), int(detail["seed"]))

    def as_detail(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat(), "seed": self.seed}


def verify_features(
    store: Store,
    start: datetime,
    end: datetime,
    *,
    benchmark: str = BENCHMARK,
    now: datetime | None = None,
    names: Sequence[str] = tuple(CHECKS),
    seed: int | None = None,
    failed_on: Mapping[str, Sample] | None = None,
) -> list[CheckOutcome]:
    """Run the checks ``names`` on ``[start, end)``. ``seed`` fixes the samples (default: by the hour).

    A check in ``failed_on`` looks first at what it failed on before. Only when that is right does it look elsewhere:
    other rows that are right say nothing of those that were wrong. The ``detail`` of an outcome is its ``Sample``.
    """
    now = now or store.clock.now()
    universe = Universe.from_store(store, benchmark)
    sample = Sample(start, min(end, now), seed or int(now.timestamp()) // 3600)
    checks: dict[str, Callable[[_Span], CheckOutcome]] = {
        "no_leak": _no_leak,
        "warm_up": _warm_up,
        "parity": _parity,
        "benchmark": partial(_benchmark, benchmark),
        "up_to_date": _up_to_date,
        "null_share": partial(_against_history, "null_share", drift.null_shares, "are null more often than before"),
        "range": partial(_against_history, "range", drift.out_of_range, "are out of range"),
        "drift": _drift,
    }
    outcomes = []
    for name in names:
        samples = [*filter(None, [(failed_on or {}).get(name)]), sample]
        for one in samples:
            outcome = checks[name](_Span(store, universe, one.start, one.end, now, one.seed))
            if not outcome.passed:
                break
        outcomes.append(replace(outcome, detail=one.as_detail()))
    return outcomes


@dataclass(frozen=True, slots=True)
class _Span:
    store: Store
    universe: Universe
    start: datetime
    end: datetime
    now: datetime
    seed: int

    def sample(self) -> list[str]:
        """Some instruments, the benchmark among them."""
        rng = np.random.default_rng(self.seed)
        others = [name for name in self.universe.instruments if name != self.universe.benchmark]
        chosen = rng.choice(others, min(SAMPLE_INSTRUMENTS, len(others)), replace=False).tolist() if others else []
        return sorted([*chosen, *([self.universe.benchmark] if self.universe.benchmark else [])])

    def sample_with_edges(self) -> list[str]:
        """The sample, and with it one instrument that lacks bars and one that began later than others, if any."""
        begin = self.end - timedelta(days=SAMPLE_DAYS + LOOK_BACK[Timeframe.M15])
        cells = self.store.coverage.cells([Timeframe.M15], begin, self.end, self.universe.instruments)
        cells = cells.filter((pl.col("present") > 0) & (pl.col("day") < self.now.date()))
        lacking = cells.filter(pl.col("present") < pl.col("expected"))["instrument"]
        begun = cells.group_by("instrument").agg(pl.col("day").min())
        young = begun.filter(pl.col("day") > pl.col("day").min())["instrument"]
        rng = np.random.default_rng(self.seed)
        edges = [names.unique().sort() for names in (lacking, young)]
        chosen = [str(names[int(rng.integers(len(names)))]) for names in edges if len(names)]
        return sorted({*self.sample(), *chosen})

    def bars(self, names: list[str]) -> tuple[Bars, datetime]:
        """Bars of the last days of the span, of a market that consists of ``names``; and when their rows begin."""
        first = max(self.start, self.end - timedelta(days=SAMPLE_DAYS))
        universe = Universe(names, self.universe.benchmark)
        return read_bars(self.store, universe, names, first.date(), self.end), first

    @property
    def compute(self) -> Compute:
        """What computes features, in a form that can be handed to another process."""
        return partial(compute_features, benchmark=self.universe.benchmark)


def _outcome(
    name: str, passed: bool, severity: Severity, summary: str, offenders: pl.DataFrame | None = None
) -> CheckOutcome:
    return CheckOutcome(name, SUBJECT, passed, severity, summary, pl.DataFrame() if offenders is None else offenders)


def _no_leak(span: _Span) -> CheckOutcome:
    bars, _first = span.bars(span.sample_with_edges())
    # From the first bar on, so that the warm-up is among what is cut.
    begin = span.end - timedelta(days=SAMPLE_DAYS + LOOK_BACK[Timeframe.M15])
    proof = leak_check(bars, span.compute, begin, span.end, seed=span.seed, fresh=True)
    return _proven("no_leak", proof, "cells, {cuts} cuts: no row knows what came later", "know what came later")


def _warm_up(span: _Span) -> CheckOutcome:
    bars, _ = span.bars(span.sample()[:3])
    proof = warm_up_check(bars, span.compute, span.end)
    return _proven(
        "warm_up", proof, "cells agree, whatever multiple of the warm-up", "need more bars than they declare"
    )


def _parity(span: _Span) -> CheckOutcome:
    rows = span.store.features.read(span.universe.instruments, span.start, span.end, live=True)
    if rows.is_empty():
        return _outcome("parity", True, "error", "the live path wrote nothing in this span")
    moments = rows["known_at"].unique().sort()
    rng = np.random.default_rng(span.seed)
    chosen = moments.gather(np.sort(rng.choice(len(moments), min(SAMPLE_CLOSES, len(moments)), replace=False)))
    spread = spreads(rows.select(*ROW_SCHEMA))
    found, cells = [], 0
    for moment in chosen:
        wrote = rows.filter(pl.col("known_at") == moment)
        first, last = wrote["open_time"].min(), wrote["open_time"].max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        names = wrote["instrument"].unique().sort().to_list()
        benchmark = span.universe.benchmark or ""
        again = features_as_of(span.store, names, first, last + Timeframe.M15.delta, moment, benchmark=benchmark).join(
            wrote.select("instrument", "open_time"), on=["instrument", "open_time"], how="semi", maintain_order="left"
        )
        found.append(compare(wrote, again, spread, PARITY_TOLERANCE))
        cells += wrote.height * len(spread)
    proof = Proof(cells, len(chosen), summed(found), tuple(spread))
    return _proven("parity", proof, "live cells of {cuts} closes equal their history", "differ from what history gives")


def _benchmark(stated: str, span: _Span) -> CheckOutcome:
    if lacking := lacks_benchmark(span.universe, stated):
        return _outcome("benchmark", False, "warning", lacking)
    name = span.universe.benchmark
    said = f"market features refer to {name}" if name else "there is none, as the setting says"
    return _outcome("benchmark", True, "warning", said)


def _up_to_date(span: _Span) -> CheckOutcome:
    """Days that are over; the running day is the live path's."""
    last = min(span.end - timedelta(microseconds=1), datetime.combine(span.now.date(), time(), UTC) - timedelta(days=1))
    if last < span.start:
        return _outcome("up_to_date", True, "warning", "no day of the span is over yet")
    universe = span.universe
    stale = stale_days(span.store, universe, universe.instruments, span.start.date(), last.date())
    if stale.is_empty():
        return _outcome("up_to_date", True, "warning", "every day that is over stands on the bars of now")
    days = stale["day"].n_unique()
    return _outcome(
        "up_to_date", False, "warning",
        f"{stale.height} instrument-days of {stale['instrument'].n_unique()} instruments on {days} days are stale",
        stale.select("instrument", "day", "computed_from", "stored_from"),
    )  # fmt: skip


def _against_history(
    name: str, compared: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame], what: str, span: _Span
) -> CheckOutcome:
    columns = ["open_time", "eligible", *NAMES]
    first = max(span.start, span.end - timedelta(days=SAMPLE_DAYS))
    rows = feature_reads(span.store).read(span.universe.instruments, first, span.end, columns)
    history = span.store.features.read(
        span.universe.instruments, first - timedelta(days=RANGE_DAYS), first, columns, hourly=True
    )
    offenders = compared(history, rows)
    if offenders.is_empty():
        return _outcome(name, True, "warning", f"{rows.height:,} rows are as in {RANGE_DAYS} days before")
    shown = ", ".join(offenders["feature"].head(5))
    return _outcome(name, False, "warning", f"{offenders.height} features {what}: {shown}", offenders)


def _drift(span: _Span) -> CheckOutcome:
    last = (span.end - timedelta(microseconds=1)).date()
    begin = datetime.combine(drift.since(last, DRIFT_DAYS), time(), UTC)
    history = span.store.features.read(span.universe.instruments, begin, span.end, ["open_time", *NAMES], hourly=True)
    if history.is_empty():
        return _outcome("drift", True, "warning", "no features are stored in this span")
    drifts = drift.drift(history, last)
    span.store.features.record_drift(drifts)
    drifted = drifts.filter("drifted").sort(pl.col("psi") / pl.col("threshold"), descending=True)
    judged = drifts["threshold"].count()
    if not judged:
        return _outcome("drift", True, "warning", "too little history to tell drift from chance")
    summary = f"{drifted.height} of {judged} features drift by their own history"
    passed = drifted.height <= DRIFTED_SHARE * judged
    return _outcome("drift", passed, "warning", summary, drifted if not passed else pl.DataFrame())


def _proven(name: str, proof: Proof, fine: str, fault: str) -> CheckOutcome:
    if proof.passed:
        return _outcome(name, True, "error", f"{proof.cells:,} {fine.format(cuts=proof.cuts)}")
    shown = ", ".join(proof.findings["feature"].head(5))
    return _outcome(name, False, "error", f"{proof.findings.height} features {fault}: {shown}", proof.findings)
