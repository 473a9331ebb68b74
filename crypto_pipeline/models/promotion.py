"""The test of promotion: whether a challenger has earned the place of the champion, on a hold-out that neither saw.

Decided once per 28 days and strategy: a test every week on overlapping hold-outs at 0.95 would let in about 2.6 models
a year that are no better. All figures are returned, whichever way it goes; the same rows and seed decide the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.models.events import KEY
from crypto_pipeline.models.judging.bootstrap import share_below_zero, share_higher
from crypto_pipeline.models.judging.metrics import (
    calibration_error,
    calibration_error_by_chance,
    known,
    log_losses,
    summary,
)
from crypto_pipeline.models.safeguards.finding import ModelFinding, blocking

#: How sure it must be that the challenger's log-loss is lower; an error of calibration that is always allowed; events
#: of the default set with which a hold-out judges.
SURE, CALIBRATION, LEAST_EVENTS = 0.95, 0.05, 100
#: Checks that must have passed on what the challenger was trained on.
REQUIRED_CHECKS = ("leak", "parity")


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    """``promote``, every figure that it rests on (JSON values), and the ``reasons`` against it (empty: none)."""

    promote: bool
    figures: Mapping[str, Any]
    reasons: tuple[str, ...]


def decide(
    challenger: pl.DataFrame,
    incumbent: pl.DataFrame | None,
    *,
    checks: Mapping[str, bool],
    findings: Sequence[ModelFinding] = (),
    seen_until: datetime | None = None,
    seed: int = 0,
) -> PromotionDecision:
    """Decide on the rows of one hold-out, scored by both models (``scoring.score``); events of the default set judge.

    The challenger's log-loss must be lower with a probability of 0.95 by resampled days, pair by pair, than the
    incumbent's; what it would have taken must earn more than 0 and no less than the incumbent's trades; its calibration
    error must be at most 0.05 or the incumbent's. Without an incumbent it must beat the base rate likewise, and earn
    more than all events of the rules with the same probability: where barriers are fixed, tier and volatility foretell
    outcomes of a random walk too, so a log-loss below that of the base rate proves no gain. ``checks``: leak and parity
    of what it was trained on, by name; one that is absent has not passed. ``findings``: of its training.
    ``seen_until``: end of the data that either model learned from: a hold-out that begins before is none.

    Raises ValueError where the two were not scored on the same events.
    """
    rows = _judged(challenger)
    rival = None if incumbent is None else _judged(incumbent)
    if rival is not None and not rows.select(KEY).equals(rival.select(KEY)):
        raise ValueError("challenger and incumbent were not scored on the same events: score both on one hold-out")
    figures = {"seed": seed, "days": rows["available_at"].dt.date().n_unique(), "challenger": summary(rows, seed)}
    if rows.is_empty():
        return PromotionDecision(False, figures, ("the hold-out has no events of the default set",))
    figures["incumbent"] = None if rival is None else summary(rival, seed)
    figures |= _paired(rows, rival, seed)
    reasons = [
        *_unfit(rows, seen_until),
        *_too_weak(figures, rival is not None),
        *(f"the check {name} has not passed" for name in REQUIRED_CHECKS if not checks.get(name, False)),
        *(f"the check {name} has not passed" for name, passed in checks.items() if not passed
          and name not in REQUIRED_CHECKS),
        *(f"{finding.check}: {finding.message}" for finding in blocking(findings)),
    ]  # fmt: skip
    figures |= {"checks": dict(checks), "findings": [finding.to_document() for finding in findings]}
    figures |= {"seen_until": seen_until.isoformat() if seen_until else None, "required": _REQUIRED}
    return PromotionDecision(not reasons, figures, tuple(reasons))


_REQUIRED = {"log_loss_lower": SURE, "ece_always_allowed": CALIBRATION, "least_events": LEAST_EVENTS}


def _judged(rows: pl.DataFrame) -> pl.DataFrame:
    """The events of the default set, in one order."""
    return rows.filter("is_default").sort(KEY)


def _paired(rows: pl.DataFrame, rival: pl.DataFrame | None, seed: int) -> dict[str, Any]:
    """How much lower the challenger's log-loss is than its rival's, and how sure that is; the rival's figures."""
    y, day = rows["y"].cast(pl.Float64).to_numpy(), rows["available_at"].dt.date().to_numpy()
    ours = log_losses(y, rows["probability"].to_numpy())
    other = (rows["base_rate"] if rival is None else rival["probability"]).to_numpy()
    delta = ours - log_losses(y, other)
    taken, theirs = _earned(rows), _earned(rows if rival is None else rival, everything=rival is None)
    found = {
        "against": "base rate and rules alone" if rival is None else "incumbent",
        "log_loss_delta": float(delta.mean()),
        "log_loss_lower": share_below_zero(delta, day, seed),
        "expectancy": summary(rows, seed)["expectancy"],
        "expectancy_to_beat": _mean(theirs),
        "expectancy_higher": share_higher(taken, theirs, day, seed),
        "ece": calibration_error(y, rows["probability"].to_numpy()),
        "ece_allowed": max(CALIBRATION, calibration_error(y, other)),
        "ece_by_chance": calibration_error_by_chance(rows["probability"].to_numpy(), seed),
    }
    return known(found)


def _earned(rows: pl.DataFrame, *, everything: bool = False) -> Floats:
    """Net returns of what is taken, NaN where nothing is."""
    net = rows["net_return"] if everything else rows.select(pl.when("take").then("net_return")).to_series()
    return net.cast(pl.Float64).fill_null(math.nan).to_numpy()


def _mean(values: Floats) -> float:
    there = values[values == values]
    return float(there.mean()) if len(there) else math.nan


def _unfit(rows: pl.DataFrame, seen_until: datetime | None) -> list[str]:
    """Why the hold-out cannot judge."""
    found = []
    if rows.height < LEAST_EVENTS:
        found.append(f"the hold-out has {rows.height} events of the default set, fewer than {LEAST_EVENTS}")
    begin = rows["available_at"].min()
    if seen_until is not None and isinstance(begin, datetime) and begin <= seen_until:
        found.append(f"the hold-out begins at {begin.isoformat()}, but a model learned from data until "
                     f"{seen_until.isoformat()}")  # fmt: skip
    return found


def _too_weak(figures: Mapping[str, Any], has_incumbent: bool) -> list[str]:
    """What the challenger does not reach."""
    found = []
    lower, earned, to_beat = figures["log_loss_lower"], figures["expectancy"], figures["expectancy_to_beat"]
    if lower is None or lower < SURE:
        found.append(f"its log-loss is lower than that of the {figures['against']} with a probability of "
                     f"{_said(lower)}, not {SURE}")  # fmt: skip
    if earned is None:
        found.append("it would have taken no trade")
    else:
        if earned <= 0:
            found.append(f"its trades earn {earned:.5f} each, not more than 0")
        if to_beat is not None and earned < to_beat:
            found.append(f"its trades earn {earned:.5f} each, those of the {figures['against']} {to_beat:.5f}")
        higher = figures["expectancy_higher"]
        if not has_incumbent and (higher is None or higher < SURE):
            found.append(f"its trades earn more than those of the rules alone with a probability of {_said(higher)}, "
                         f"not {SURE}")  # fmt: skip
    if figures["ece"] is None or figures["ece"] > figures["ece_allowed"]:
        found.append(f"its calibration error is {figures['ece']:.4f}, more than {figures['ece_allowed']:.4f}")
    return found


def _said(share: float | None) -> str:
    return "nothing" if share is None else f"{share:.3f}"
