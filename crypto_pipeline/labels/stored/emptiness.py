"""Why a training set has no rows, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.labels.stored.signals import Signals
from crypto_pipeline.labels.stored.update import due_cells, traded
from crypto_pipeline.labels.strategies.base import TIMEFRAME, WARM_UP
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store

#: Where signals of a shorter span than this can have labels, few days are said to be the reason for few rows.
_ENOUGH = timedelta(days=7)


def why_empty(
    store: Store,
    signals: Signals,
    *,
    instruments: Sequence[str] | None,
    benchmark: str | None,
    ineligible: int,
) -> str:
    """The reason in a sentence or two, with what to do, when no label of ``signals`` is left.

    ``benchmark``: the instrument whose market some strategies look at; ``ineligible``: labels that were left out as
    such. Raises StoreError for an unknown instrument.
    """
    strategy, span = signals.strategy, f"{signals.start:%Y-%m-%d %H:%M} to {signals.end:%Y-%m-%d %H:%M} UTC"
    head = f"no {strategy} labels of signals from {span}: "
    if ineligible:
        return (
            f"{head}of all {ineligible} signals more than 5 % of the last day's bars are missing, or fewer than half "
            "of them traded. Keep them with eligible_only=False (`--ineligible`)"
        )
    tiers = traded(store, instruments or ())
    if not tiers:
        return f"{head}no instrument of the tiers large, mid and meme is collected"
    if strategy.definition.uses_benchmark and benchmark is None:
        return (
            f"{head}the benchmark, whose crashes stop {strategy} entries, is not collected. Add it (`crypto-pipeline "
            "instruments add BTC-USDT`) or name another (CRYPTO_PIPELINE_FEATURE_BENCHMARK)"
        )
    held = store.coverage.cells([TIMEFRAME], None, None, list(tiers)).filter(pl.col("present") > 0)
    first, last = held["day"].min(), held["day"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return f"{head}no {TIMEFRAME} bars are stored yet. See `crypto-pipeline status`"
    return head + (
        _too_short(signals, midnight(first), midnight(last) + timedelta(days=1))
        or _not_labelled(store, signals, list(tiers), midnight(first))
        or _nothing_found(store, signals, list(tiers))
    )


def _too_short(signals: Signals, begins: datetime, ends: datetime) -> str | None:
    """Whether no signal of the span can have a label, by the bars that are stored from ``begins`` to ``ends``."""
    horizon = signals.parameters.horizon
    stored = f"bars are stored from {begins:%Y-%m-%d} to {ends - timedelta(days=1):%Y-%m-%d}"
    first = begins + TIMEFRAME.delta * WARM_UP
    reach = TIMEFRAME.delta * (horizon + 1)
    if signals.start >= ends or signals.end <= begins:
        return f"{stored}. Choose a span among them, or collect more days (`crypto-pipeline up --days N`)"
    if signals.end <= first:
        return (
            f"{stored}, and setups are looked for after {WARM_UP} bars, from {first:%Y-%m-%d %H:%M} on. Choose a later "
            "end, or collect more days (`crypto-pipeline up --days N`)"
        )
    known_from = max(signals.start, first) + reach
    if known_from > signals.now:
        return (
            f"a label is stored when its horizon of {horizon} bars has ended, here from "
            f"{known_from:%Y-%m-%d %H:%M} UTC on. Choose an earlier start, collect more days (`crypto-pipeline up "
            "--days N`) or wait"
        )
    return None


def _room(signals: Signals, begins: datetime) -> str:
    """What of a short span can have labels, by the bars that are stored from ``begins`` on; empty: a week or more."""
    horizon = signals.parameters.horizon
    first = max(signals.start, begins + TIMEFRAME.delta * WARM_UP)
    last = min(signals.end, signals.now - TIMEFRAME.delta * (horizon + 1))
    if last - first >= _ENOUGH:
        return ""
    return (
        f". Few rows can come of them: only signals from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC can have "
        f"a label, with {WARM_UP} bars before them ({_days(WARM_UP)}) and a horizon of {horizon} bars after them "
        f"({_days(horizon)}). Collect more days (`crypto-pipeline up --days N`)"
    )


def _days(bars: int) -> str:
    return f"{bars * TIMEFRAME.delta / timedelta(days=1):.1f} days"


def _not_labelled(store: Store, signals: Signals, names: list[str], begins: datetime) -> str | None:
    """Whether days of the span have not been computed yet, or labels came only after the moment that was asked for."""
    start, end = signals.start, signals.end
    table = signals.strategy.definition.table
    labels = store.labels.read(table, signals.parameters.hash, start, end, instruments=names)
    if labels.height:
        at = labels["recorded_at"].min()
        assert isinstance(at, datetime)
        return f"at that moment none was stored yet, the first at {at:%Y-%m-%d %H:%M:%S} UTC. Choose a later as_of"
    days = signals.between(Timeframe.D1.floor(start), Timeframe.D1.ceil(end))
    due = due_cells(store, days, traded(store, names))
    if due.is_empty():
        return None
    return (
        f"{due.height} instrument-days are not computed yet. While `crypto-pipeline up` runs they are within minutes; "
        f"the job label_setups computes them at once{_room(signals, begins)}"
    )


def _nothing_found(store: Store, signals: Signals, names: list[str]) -> str:
    """The sentence for setups that wait, or for days without setups."""
    strategy = signals.strategy
    cells = store.labels.cells(strategy, signals.parameters.hash, signals.start, signals.end, names)
    waiting, until = int(cells["waiting"].sum()), cells["waits_until"].min()
    if waiting:
        when = f", the next until {until:%Y-%m-%d %H:%M} UTC" if isinstance(until, datetime) else ""
        return (
            f"{waiting} setups wait for the end of their horizon{when}, or for bars that are missing without a reason "
            "(`crypto-pipeline gaps`)"
        )
    loose = strategy.definition.loose
    # Where the wide set itself is asked for there is nothing wider to offer.
    narrow = any(getattr(signals.parameters, name) != value for name, value in loose.items())
    beside = ", or take the wider set that is labelled beside it (`--set loose`)" if narrow else ""
    return (
        f"none of the {cells.height} instrument-days has a setup. With these parameters they are rare: collect more "
        f"days or instruments (`crypto-pipeline up --days N --instruments N`){beside}"
    )
