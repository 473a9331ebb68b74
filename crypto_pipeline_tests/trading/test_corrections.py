"""Bars that are healed under a trade: what was booked is taken back by events of its own and booked anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.labels.costs import OrderUse
from crypto_pipeline.trading.account import OpenTrade, TradeKey
from crypto_pipeline.trading.ledger.booking import BookedFill
from crypto_pipeline.trading.ledger.corrections import Correction, StandingFill, correction_of
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.money import ZERO, exact
from crypto_pipeline.trading.paths import TradePaths
from crypto_pipeline.trading.simulate import simulate
from crypto_pipeline_tests.builders.trade_streams import TradeStream, trade_stream

KEY = ("strategy", "instrument", "signal_ts")
BARS = 120


def healed(stream: TradeStream, random: np.random.Generator) -> TradeStream:
    """The same stream on a market of which some bars have other values, and some that were absent are there."""
    panel = stream.panel
    columns = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close", "volume")}
    hit = (random.random(panel.open.shape) < 0.05) | np.isnan(panel.open)
    level = np.nanmean(panel.close, axis=1, keepdims=True) * np.exp(random.normal(0, 0.03, panel.open.shape))
    spread = np.exp(np.abs(random.normal(0, 0.02, panel.open.shape)))
    for name, values in (("open", level), ("close", level), ("high", level * spread), ("low", level / spread)):
        columns[name][hit] = values[hit]
    columns["volume"][hit] = 1.0
    return replace(stream, panel=replace(panel, **columns))


def corrections(stream: TradeStream, before: Simulation, paths: TradePaths) -> list[Correction]:
    """What must be corrected of the trades that ``before`` booked."""
    rows = {key: row for row, key in enumerate(_keys(stream.signals))}
    standing: dict[tuple[Any, ...], list[StandingFill]] = {}
    for row, key in zip(before.fills.iter_rows(named=True), _keys(before.fills), strict=True):
        fill = BookedFill(
            OrderUse[row["use"]], row["bar_ts"], exact(row["raw_price"]), row["price"], row["units"], row["quote"],
            row["fee"], row["slippage"], -row["quote"] - row["fee"],
        )._replace(bar_ts=int(row["bar_ts"].timestamp() * 1000))  # fmt: skip
        standing.setdefault(key, []).append(StandingFill(row["number"], fill))
    found = []
    taken = before.decisions.filter("taken")
    for row, key in zip(taken.iter_rows(named=True), _keys(taken), strict=True):
        own = standing.get(key, [])
        trade = before.state.open.get(TradeKey(*key)) or _ended(TradeKey(*key), row, own)
        ended = TradeKey(*key) not in before.state.open
        one = correction_of(trade, own, ended=ended, paths=paths, row=rows[key], moment=before.state.moment)
        if one is not None:
            found.append(one)
    return found


def _keys(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return list(zip(frame["strategy"], frame["instrument"], frame["signal_ts"].to_physical(), strict=True))


def _ended(key: TradeKey, row: dict[str, Any], standing: Sequence[StandingFill]) -> OpenTrade:
    fills = [fill for _, fill in standing]
    return OpenTrade(
        key, row["tier"], row["size"], row["order_sum"], row["orders"], row["risk"], ZERO, len(fills), len(fills),
        paid=-sum((fill.cash for fill in fills if fill.use.buys), ZERO),
        received=sum((fill.cash for fill in fills if not fill.use.buys), ZERO),
        fees=sum((fill.fee for fill in fills), ZERO), slippage=sum((fill.slippage for fill in fills), ZERO),
    )  # fmt: skip


def standing_fills(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Fills that were not taken back, by trade."""
    fills = pl.concat(parts)
    gone = fills.filter(pl.col("reverses").is_not_null())
    left = fills.filter(pl.col("reverses").is_null())
    left = left.join(gone.select(*KEY, number="reverses"), on=[*KEY, "number"], how="anti")
    return left.sort(*KEY, "number")


def test_after_a_correction_every_trade_is_booked_as_the_bars_say() -> None:
    assert sum(corrected_trades(seed) for seed in range(24)) > 30


def corrected_trades(seed: int) -> int:
    """How many trades of a stream were corrected; every one of them, and the account, is checked."""
    stream = trade_stream(seed, BARS, max_open=20, per_instrument=5, max_exposure=5.0, max_open_risk=5.0)
    half = stream.panel.grid.first + stream.panel.grid.step * 80
    before = stream.run(until=half)
    now = healed(stream, np.random.default_rng(seed))
    paths = now.paths()
    todo = corrections(stream, before, paths)
    after = simulate(now.signals, paths, Marks(now.panel), now.parameters, before.state, corrections=todo)
    # what stands is what the paths say, as if nothing else had ever been booked
    stands = standing_fills([before.fills, after.fills])
    decisions = pl.concat([before.decisions, after.decisions]).filter("taken")
    rows = {key: row for row, key in enumerate(_keys(stream.signals))}
    expected = []
    for key in _keys(decisions):
        row = rows[key]
        for place in range(int(paths.first_fill[row]), int(paths.first_fill[row + 1])):
            use = OrderUse(int(paths.fill_use[place])).name
            expected.append((*key, int(paths.fill_ts[place]), use, float(paths.fill_raw[place])))
    booked = list(zip(*zip(*_keys(stands), strict=True), stands["bar_ts"].to_physical(), stands["use"],
                      stands["raw_price"], strict=True)) if stands.height else []  # fmt: skip
    assert sorted(booked) == sorted(expected)
    # and the account is worth what those fills say
    cash = pl.concat([before.postings, after.postings]).filter(pl.col("account") == "cash")["amount"].sum()
    assert after.state.cash == stream.parameters.capital + Decimal(cash or 0)
    of_standing = sum((-row["quote"] - row["fee"] for row in stands.iter_rows(named=True)), Decimal(0))
    assert after.state.cash == stream.parameters.capital + of_standing
    held = {tuple(row[:3]): row[3] for row in stands.group_by(KEY).agg(pl.col("units").sum()).iter_rows() if row[3]}
    assert {key: trade.units for key, trade in after.state.open.items() if trade.units} == {
        TradeKey(key[0], key[1], int(key[2].timestamp() * 1000)): units for key, units in held.items()
    }
    numbers = pl.concat([before.fills, after.fills]).select(*KEY, "number")
    assert numbers.n_unique() == numbers.height
    return len(todo)


def test_bars_that_stay_correct_nothing() -> None:
    stream = trade_stream(5, BARS)
    before = stream.run(until=stream.panel.grid.first + stream.panel.grid.step * 80)
    assert before.trades.height
    assert corrections(stream, before, stream.paths()) == []


def test_a_closed_trade_that_ends_otherwise_has_a_second_row() -> None:
    """Its first row no longer holds, and its stop no longer counts among the stops of its instrument."""
    seen = 0
    for seed in range(12):
        stream = trade_stream(seed, BARS)
        before = stream.run(until=stream.panel.grid.first + stream.panel.grid.step * 80)
        now = healed(stream, np.random.default_rng(seed + 100))
        todo = corrections(stream, before, now.paths())
        after = simulate(now.signals, now.paths(), Marks(now.panel), now.parameters, before.state, corrections=todo)
        again = after.trades.filter(pl.col("revision") == 1)
        assert set(_keys(again)) <= set(_keys(after.reopened))
        seen += again.height
        for name, ends in after.state.ends.items():
            assert len({end.order for end in ends}) == len(ends), name
    assert seen > 3
