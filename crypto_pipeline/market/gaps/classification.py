"""Classification: the reason why bars are missing, from evidence, in sentences that a person can check.

Each missing window is judged by itself, and neighbours with the same verdict are joined. So one span may get several
verdicts: the first minute of an outage may be missing for some instruments and present for others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.gaps.evidence import (
    WITNESSES,
    Array,
    Evidence,
    Heard,
    Mask,
    Witnesses,
    active_siblings,
    grid,
    heard,
    outage,
    runs,
    witnesses,
)
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import from_unix_ms


class GapState(StrEnum):
    """The state of missing bars in the ledger."""

    PENDING = "pending"
    LOST = "lost"
    UNPROVEN = "unproven"
    NO_TRADE = "no_trade"
    VENUE_OUTAGE = "venue_outage"
    NOT_LISTED = "not_listed"
    DELISTED = "delisted"
    UNFILLABLE = "unfillable"
    HEALED = "healed"

    @property
    def explained(self) -> bool:
        """The bars are known not to exist, or not to be obtainable: they count as accounted for (invariant I3)."""
        return self not in (GapState.PENDING, GapState.LOST, GapState.UNPROVEN, GapState.HEALED)

    @property
    def open(self) -> bool:
        """The bars are still missing."""
        return self is not GapState.HEALED


@dataclass(frozen=True, slots=True)
class GapVerdict:
    """One span with one reason. ``evidence`` is JSON-serialisable; its ``because`` is a sentence for people."""

    start: datetime
    end: datetime
    state: GapState
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GapRules:
    """The limits of the classification.

    ``max_active``: the venue counts as silent while at most this many siblings have a bar. An outage does not cut every
    instrument off in the same minute: up to ``edge_windows`` windows that join directly on an outage of at least ten
    times that length belong to it while at most ``edge_share`` of the usual siblings have a bar. US exchanges pause
    trading of one stock for at least five minutes, ``halt``.
    """

    max_active: int = 0
    edge_windows: int = 2
    edge_share: float = 0.5
    #: shortest halt, and the share of its windows in which an instrument has a bar that is called halted without one
    halt: timedelta = timedelta(minutes=5)
    halt_rate: float = 0.9


class _Rule(IntEnum):
    IDS_MISSING = 1
    TRADED = 2
    OUTAGE = 3
    OUTAGE_EDGE = 4
    NO_TRADE_IDS = 5
    NO_TRADE_EMPTY = 6
    NO_TRADE_ABSENT = 7
    UNKNOWN = 8
    FEW_WITNESSES = 9
    HALT = 10
    UNPROVEN = 11
    NO_TRADE_SHOWN = 12


_STATES = {
    _Rule.IDS_MISSING: GapState.LOST,
    _Rule.TRADED: GapState.LOST,
    _Rule.OUTAGE: GapState.VENUE_OUTAGE,
    _Rule.OUTAGE_EDGE: GapState.VENUE_OUTAGE,
    _Rule.NO_TRADE_IDS: GapState.NO_TRADE,
    _Rule.NO_TRADE_EMPTY: GapState.NO_TRADE,
    _Rule.NO_TRADE_ABSENT: GapState.NO_TRADE,
    _Rule.UNKNOWN: GapState.LOST,
    _Rule.FEW_WITNESSES: GapState.LOST,
    _Rule.HALT: GapState.NO_TRADE,
    _Rule.UNPROVEN: GapState.UNPROVEN,
    _Rule.NO_TRADE_SHOWN: GapState.NO_TRADE,
}


_SILENT = (_Rule.NO_TRADE_IDS, _Rule.NO_TRADE_EMPTY, _Rule.NO_TRADE_ABSENT)
_SENTENCES = {
    _Rule.IDS_MISSING: "Trade ids jump between {before} and {after}: trades happened that the venue did not show.",
    _Rule.TRADED: "The venue shows trades in these minutes but no bar.",
    _Rule.OUTAGE: "The whole venue was silent: {most} of {witnesses} other instruments have a bar.",
    _Rule.OUTAGE_EDGE: "Joins directly on an outage of the venue; {most} of {witnesses} other instruments have a bar.",
    _Rule.NO_TRADE_IDS: "Trade ids run on without a jump over these minutes (asked from {before} to {after}).",
    _Rule.NO_TRADE_EMPTY: (
        "Weaker evidence, no ids: {least} to {most} other instruments have bars, the venue stated bars "
        "before and after, and it has no trade in these minutes."
    ),
    _Rule.NO_TRADE_ABSENT: (
        "Weaker evidence, trades not asked: {least} to {most} other instruments have bars, the venue stated bars "
        "before and after, and it leaves out minutes without trades."
    ),
    _Rule.UNKNOWN: "Nothing explains why the venue stated no bar.",
    _Rule.FEW_WITNESSES: (
        "Nothing explains why the venue stated no bar: no other instrument has one, but only {witnesses} were looked "
        "at and listed then, too few to tell an outage of the venue."
    ),
    _Rule.HALT: (
        "Trading was halted: nothing traded for {minutes} minutes of an instrument that has a bar in {rate:.0%} of "
        "them, while {least} to {most} other instruments have bars."
    ),
    _Rule.UNPROVEN: (
        "The venue stated no bar, and it does not say whether it leaves out bars in which something was traded: only "
        "its trades could show it, and it gave none of these minutes."
    ),
    _Rule.NO_TRADE_SHOWN: (
        "The venue's trades before and after these minutes follow each other without one between them."
    ),
}


def classify(
    span: tuple[datetime, datetime], timeframe: Timeframe, evidence: Evidence, rules: GapRules | None = None
) -> list[GapVerdict]:
    """Why the bars of ``timeframe`` that open in ``span`` are missing: verdicts in time order that cover the span."""
    start, end = timeframe.floor(span[0]), timeframe.ceil(span[1])
    if start >= end:
        return []
    verdicts: list[GapVerdict] = []
    if evidence.listed is not None and start < (first := timeframe.floor(evidence.listed)):
        facts = {"rule": "before_listing", "listed": _iso(evidence.listed)}
        because = f"The venue's first bar opens at {_iso(evidence.listed)}."
        verdicts.append(_verdict(start, min(first, end), GapState.NOT_LISTED, because, facts))
        start = min(first, end)
    tail: list[GapVerdict] = []
    if evidence.delisted is not None and end > (last := timeframe.ceil(evidence.delisted)):
        facts = {"rule": "after_delisting", "delisted": _iso(evidence.delisted)}
        because = f"The venue delisted the instrument at {_iso(evidence.delisted)}."
        tail.insert(0, _verdict(max(last, start), end, GapState.DELISTED, because, facts))
        end = max(last, start)
    if end > (settled := timeframe.floor(evidence.settled_until)):
        facts = {"rule": "not_settled", "settled_until": _iso(evidence.settled_until)}
        because = f"Not over and settled yet at {_iso(evidence.settled_until)}."
        tail.insert(0, _verdict(max(settled, start), end, GapState.PENDING, because, facts))
        end = max(settled, start)
    if start < end:
        verdicts.extend(_settled((start, end), timeframe, evidence, rules or GapRules()))
    return [verdict for verdict in (*verdicts, *tail) if verdict.start < verdict.end]


def verdict_frame(instrument: str, timeframe: Timeframe, verdicts: Iterable[GapVerdict]) -> pl.DataFrame:
    """Verdicts as ledger rows: ``instrument``, ``timeframe``, ``start``, ``end``, ``state``, ``evidence`` (JSON)."""
    rows = [
        (instrument, str(timeframe), one.start, one.end, str(one.state), json.dumps(one.evidence, sort_keys=True))
        for one in verdicts
    ]
    text = pl.String()
    schema = {"instrument": text, "timeframe": text, "start": UTC_MS, "end": UTC_MS, "state": text, "evidence": text}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _settled(
    span: tuple[datetime, datetime], timeframe: Timeframe, evidence: Evidence, rules: GapRules
) -> list[GapVerdict]:
    """Verdicts on windows that are over, listed and settled."""
    opens = grid(*span, timeframe)
    active = active_siblings(opens, evidence)
    seen = witnesses(opens, timeframe, evidence)
    says = heard(opens, timeframe, evidence)
    rule = _halted(_judge(active, seen, says, evidence, rules), timeframe, evidence, rules)
    cuts = [0, *(np.flatnonzero(np.diff(rule)) + 1).tolist(), len(opens)]
    verdicts = []
    for low, high in pairwise(cuts):
        begin = from_unix_ms(int(opens[low]))
        over = from_unix_ms(int(opens[high - 1]) + timeframe.milliseconds)
        verdicts.append(_explain(_Rule(int(rule[low])), begin, over, active[low:high], seen.count[low:high], evidence))
    return verdicts


def _judge(active: Array, seen: Witnesses, says: Array, evidence: Evidence, rules: GapRules) -> Array:
    """The rule that decides each window; later assignments outweigh earlier ones."""
    down = outage(active, seen, evidence, rules.max_active)
    edge = _edges(down, active, seen, rules) & (says != Heard.PROVEN_SILENT)
    both_sides = evidence.answered_before and evidence.answered_after
    busy: Mask = active > rules.max_active
    rule = np.full(len(active), _Rule.UNKNOWN, dtype=np.int64)
    if evidence.sibling_bars is not None:
        rule[~busy & (seen.count < WITNESSES)] = _Rule.FEW_WITNESSES
    # A venue that leaves silent minutes out may have left these out; asking once more costs little.
    if both_sides and not evidence.states_empty_bars and evidence.attempts >= 2:
        rule[busy & (says == Heard.NOT_ASKED)] = _Rule.NO_TRADE_ABSENT
    if both_sides:
        rule[busy & (says == Heard.EMPTY)] = _Rule.NO_TRADE_EMPTY
    if not evidence.absence_is_silence:
        rule[says == Heard.NOT_ASKED] = _Rule.UNPROVEN
        rule[says == Heard.EMPTY] = _Rule.NO_TRADE_SHOWN
    rule[says == Heard.PROVEN_SILENT] = _Rule.NO_TRADE_IDS
    rule[edge] = _Rule.OUTAGE_EDGE
    rule[down] = _Rule.OUTAGE
    rule[says == Heard.IDS_MISSING] = _Rule.IDS_MISSING
    rule[says == Heard.TRADED] = _Rule.TRADED
    return rule


def _halted(rule: Array, timeframe: Timeframe, evidence: Evidence, rules: GapRules) -> Array:
    """Long stretches without trades of an instrument that nearly always trades are halts of its exchange."""
    if evidence.own_rate is None or evidence.own_rate < rules.halt_rate:
        return rule
    for first, last in runs(np.isin(rule, _SILENT)):
        if (last - first) * timeframe.delta >= rules.halt:
            rule[first:last] = _Rule.HALT
    return rule


def _edges(down: Mask, active: Array, seen: Witnesses, rules: GapRules) -> Mask:
    """Windows just before or after an outage in which most of the venue is silent already, or still."""
    edge = np.zeros(len(down), dtype=np.bool_)
    quiet = (active <= rules.edge_share * seen.usual) & (seen.count >= WITNESSES)
    for first, last in runs(down):
        reach = min(rules.edge_windows, (last - first) // 10)
        low, high = max(0, first - reach), min(len(down), last + reach)
        # Only an unbroken stretch counts: from the outage outwards until the venue is busy.
        while first > low and quiet[first - 1]:
            first -= 1
            edge[first] = True
        while last < high and quiet[last]:
            edge[last] = True
            last += 1
    return edge & ~down


def _explain(
    rule: _Rule, start: datetime, end: datetime, active: Array, count: Array, evidence: Evidence
) -> GapVerdict:
    """The verdict with its evidence in words."""
    facts: dict[str, Any] = {"rule": rule.name.lower(), "attempts": evidence.attempts}
    if evidence.sibling_bars is not None:
        facts |= {"witnesses": int(count.min()), "siblings_active": [int(active.min()), int(active.max())]}
    if evidence.venue_down is not None:
        facts["venue_down"] = evidence.venue_down
    if evidence.trades is not None:
        facts["trade_ids"] = [evidence.trades.id_before, evidence.trades.id_after]
    if rule is _Rule.HALT:
        facts |= {"minutes": int((end - start).total_seconds()) // 60, "rate": evidence.own_rate}
    state, because = _STATES[rule], _because(rule, facts)
    if state is GapState.LOST and evidence.attempts >= evidence.max_attempts:
        state = GapState.UNFILLABLE
        because = f"{because} {evidence.attempts} spaced attempts brought nothing."
    return _verdict(start, end, state, because, facts)


def _because(rule: _Rule, facts: dict[str, Any]) -> str:
    least, most = facts.get("siblings_active", (0, 0))
    before, after = facts.get("trade_ids", (None, None))
    seen = facts.get("witnesses", 0)
    more = {name: facts.get(name, 0) for name in ("minutes", "rate")}
    return _SENTENCES[rule].format(witnesses=seen, least=least, most=most, before=before, after=after, **more)


def _verdict(start: datetime, end: datetime, state: GapState, because: str, facts: dict[str, Any]) -> GapVerdict:
    return GapVerdict(start, end, state, {"because": because, **facts})


def _iso(moment: datetime) -> str:
    return require_utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")
