"""Accounts on random streams of signals: the books balance at every event, no limit is exceeded, a restart changes
nothing. Many more streams: bench/trading_streams.py.

Guards I6 and I7 (docs/invariants.md).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.risk import LIMITS
from crypto_pipeline_tests.builders.trade_streams import TradeStream, moments, trade_stream
from crypto_pipeline_tests.oracles.ledger import broken_laws

FRAMES = [one.name for one in fields(Simulation) if one.name not in ("state", "positions")]


def restarted(stream: TradeStream, every: int) -> Simulation:
    """The same in many runs, each from the state of the one before."""
    parts, state = [], None
    for moment in moments(stream)[every - 1 :: every]:
        parts.append(stream.run(state, moment))
        state = parts[-1].state
    assert state is not None
    frames = {name: pl.concat([getattr(part, name) for part in parts]) for name in FRAMES}
    return Simulation(**frames, positions=parts[-1].positions, state=state)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_law_holds_on_every_stream(seed: int) -> None:
    stream = trade_stream(seed, bars=96)
    assert list(broken_laws(stream.run(), stream.panel, stream.parameters)) == []


def test_never_more_is_bought_than_there_is_cash_for() -> None:
    bound: Counter[str] = Counter()
    generous = {"max_position": 0.6, "risk_per_trade": 0.3, "max_exposure": 2.0, "max_open_risk": 2.0, "max_open": 5,
                "daily_loss": 0.5, "weekly_loss": 0.5, "drawdown_halt": 0.5, "volume_share": 1.0}  # fmt: skip
    for seed in range(20):
        stream = trade_stream(seed, bars=96, **generous)
        made = stream.run()
        assert list(broken_laws(made, stream.panel, stream.parameters)) == []
        bound.update(made.decisions["bound_by"].drop_nulls().to_list())
    assert bound["free_cash"] > 3


def test_a_restart_at_every_moment_changes_nothing() -> None:
    fills = 0
    for seed in range(4):
        stream = trade_stream(seed, bars=72)
        whole, parts = stream.run(), restarted(stream, 1)
        fills += whole.fills.height
        for name in [*FRAMES, "positions"]:
            assert getattr(whole, name).equals(getattr(parts, name)), (seed, name)
        assert whole.state == parts.state
    assert fills > 20


def test_each_limit_binds() -> None:
    """Every one of them rejects something, with what was found and what is allowed."""
    hits: Counter[str] = Counter()
    for seed in range(120):
        decisions = trade_stream(seed, bars=120).run().decisions
        hits.update(decisions["limit_name"].drop_nulls().to_list())
        rejected = decisions.filter(~pl.col("taken"))
        assert rejected.select(pl.col("limit_value", "limit_threshold").is_not_null().all()).row(0) == (True, True)
    assert set(hits) == set(LIMITS)
