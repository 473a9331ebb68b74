"""Trades as proof over spans of any length, asked of a scripted Binance on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.healing.fill.trade_proof import Proofs, gather_proofs
from crypto_pipeline.healing.reports import silent
from crypto_pipeline.market import Evidence, GapState, GapVerdict, Timeframe, classify
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.venues import BinanceSpot
from crypto_pipeline_tests.builders.scripted_binance import ScriptedVenue, ms

#: A coin is halted, and listed again three days later under the same symbol: its trade ids run on.
HALT = datetime(2022, 5, 13, 0, 40, tzinfo=UTC), datetime(2022, 5, 16, 0, 40, tzinfo=UTC)
TRADES = "/api/v3/aggTrades"


def trade(number: int, at: datetime, jump: int = 0) -> dict[str, Any]:
    return {"a": number, "p": "1.5", "q": "2", "f": number + jump, "l": number + jump, "T": ms(at), "m": True}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedVenue]:
    async with ScriptedVenue() as server:
        yield server


async def ask(server: ScriptedVenue) -> tuple[Proofs, list[GapVerdict]]:
    """The proofs of the halt, and what they make of it while everything else trades."""
    holes = span.spans_from_rows([("A-B", *HALT)])
    venue = BinanceSpot(server.url, server.url)
    try:
        proofs = await gather_proofs(venue, {"A-B": {"venue_symbol": "AB"}}, holes, silent)
    finally:
        await venue.close()
    evidence = Evidence(
        settled_until=HALT[1] + timedelta(days=9),
        contiguous_trade_ids=True,
        states_empty_bars=True,
        trades=proofs.of("A-B", *HALT),
    )
    return proofs, classify(HALT, Timeframe.M1, evidence)


def around(jump: int = 0) -> list[dict[str, Any]]:
    before = [trade(number, HALT[0] - timedelta(seconds=101 - number)) for number in range(1, 101)]
    return before + [trade(100 + number, HALT[1] + timedelta(seconds=number), jump) for number in range(1, 101)]


async def test_ids_that_run_on_over_three_days_prove_that_nothing_traded(server: ScriptedVenue) -> None:
    server.trades = around()
    _, (verdict,) = await ask(server)
    assert verdict.state is GapState.NO_TRADE
    assert (verdict.start, verdict.end) == HALT
    assert verdict.evidence["trade_ids"] == [100, 101]
    assert len([path for path, _ in server.requests if path == TRADES]) <= 6


async def test_individual_trades_that_jump_over_three_days_leave_them_in_doubt(server: ScriptedVenue) -> None:
    server.trades = around(jump=3)
    _, (verdict,) = await ask(server)
    assert (verdict.state, verdict.evidence["rule"]) == (GapState.LOST, "ids_missing")


async def test_few_trades_amid_a_long_hole_are_read_and_become_bars(server: ScriptedVenue) -> None:
    inside = [trade(101, HALT[0] + timedelta(hours=30)), trade(102, HALT[0] + timedelta(hours=30, seconds=9))]
    later = [trade(102 + number, HALT[1] + timedelta(seconds=number)) for number in range(1, 51)]
    server.trades = around()[:100] + inside + later
    proofs, verdicts = await ask(server)
    assert proofs.rebuilt.select("open_time", "volume", "complete").rows() == [
        (HALT[0] + timedelta(hours=30), 4.0, True)
    ]
    assert [one.state for one in verdicts] == [GapState.NO_TRADE, GapState.LOST, GapState.NO_TRADE]


async def test_a_busy_long_hole_costs_its_edges_only(server: ScriptedVenue) -> None:
    step = (HALT[1] - HALT[0]) / 30_000
    server.trades = around()[:100] + [trade(101 + number, HALT[0] + number * step) for number in range(30_010)]
    proofs, (verdict,) = await ask(server)
    assert proofs.of("A-B", *HALT) is None
    assert verdict.state is GapState.LOST
    assert len([path for path, _ in server.requests if path == TRADES]) <= 6


async def test_trades_whose_individual_ids_jump_at_the_edge_rebuild_no_bar(server: ScriptedVenue) -> None:
    """The hole is one minute; the last trade before it and the first in it are neighbours, what they sum is not."""
    minute = HALT[0], HALT[0] + timedelta(minutes=1)
    times = [(100, -5, 0), (101, 5, 4), (102, 20, 4), (103, 65, 4)]
    server.trades = [trade(number, HALT[0] + timedelta(seconds=second), jump) for number, second, jump in times]
    venue = BinanceSpot(server.url, server.url)
    holes = span.spans_from_rows([("A-B", *minute)])
    proofs = await gather_proofs(venue, {"A-B": {"venue_symbol": "AB"}}, holes, silent)
    assert proofs.rebuilt.is_empty()
    server.trades = [trade(number, HALT[0] + timedelta(seconds=second)) for number, second, _ in times]
    proofs = await gather_proofs(venue, {"A-B": {"venue_symbol": "AB"}}, holes, silent)
    await venue.close()
    assert proofs.rebuilt.select(pl.col("volume")).to_series().to_list() == [4.0]
