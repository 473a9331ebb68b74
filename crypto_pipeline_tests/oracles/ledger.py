"""What must hold of every account, told from the frames of a simulation alone: plain loops over decimals.

It knows nothing of the fold. Cash and holdings are summed from postings, marked at closes, and compared with the rows
of equity; limits are counted from decisions and fills.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any

import numpy as np

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.parameters import TradingParameters

_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
_PLACES = Decimal("1e-18")


def broken_laws(made: Simulation, panel: Panel, parameters: TradingParameters) -> Iterator[str]:
    """What does not hold, in words; empty: all does."""
    with localcontext(_EXACT):
        yield from _unbalanced(made)
        yield from _wrong_equity(made, panel, parameters)
        yield from _exceeded(made, parameters)
        yield from _wrongly_reserved(made)


def _unbalanced(made: Simulation) -> Iterator[str]:
    sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for row in made.postings.iter_rows(named=True):
        sums[row["strategy"], row["instrument"], row["signal_ts"], row["number"], row["currency"]] += row["amount"]
    yield from (f"event {key} is off by {off}" for key, off in sums.items() if off)
    keys = made.fills.select("strategy", "instrument", "signal_ts", "number")
    if keys.n_unique() != keys.height:
        yield "an event is booked twice"


def _closes(panel: Panel) -> dict[str, list[float]]:
    found = {}
    for name, closes in zip(panel.names, panel.close, strict=True):
        last, carried = float("nan"), []
        for close in closes.tolist():
            last = last if np.isnan(close) else close
            carried.append(last)
        found[name] = carried
    return found


def _wrong_equity(made: Simulation, panel: Panel, parameters: TradingParameters) -> Iterator[str]:
    """Cash, holdings and equity at every moment, from postings; and start + results of all trades."""
    closes, step, first = _closes(panel), panel.grid.step, panel.grid.first
    events = sorted(zip(made.postings["moment"].to_physical(), made.postings.iter_rows(named=True), strict=True),
                    key=lambda each: each[0])  # fmt: skip
    ended = sorted(zip(made.trades["exit_ts"].to_physical(), made.trades["pnl"], strict=True))
    cash, units, place, over = parameters.capital, defaultdict(Decimal), 0, 0
    flows: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for row in made.equity.with_columns(ms=made.equity["moment"].to_physical()).iter_rows(named=True):
        while place < len(events) and events[place][0] <= row["ms"]:
            posting = events[place][1]
            trade = (posting["strategy"], posting["instrument"], posting["signal_ts"])
            if posting["account"] == "cash":
                cash += posting["amount"]
                flows[trade] += posting["amount"]
            elif posting["account"] == "position":
                units[trade] += posting["amount"]
            place += 1
        won = Decimal(0)
        while over < len(ended) and ended[over][0] <= row["ms"]:
            over += 1
        for _, pnl in ended[:over]:
            won += pnl
        held = Decimal(0)
        for trade, amount in units.items():
            if amount < 0:
                yield f"{trade} is short at {row['moment']}"
            if amount:
                price = Decimal(repr(closes[trade[1]][(row["ms"] - first) // step - 1]))
                value = (amount * price).quantize(_PLACES)
                held += value
                won += flows[trade] + value
        if (row["cash"], row["positions"], row["equity"]) != (cash, held, cash + held):
            yield f"at {row['moment']}: cash {row['cash']} or positions {row['positions']} are not {cash}, {held}"
        if row["equity"] != parameters.capital + won:
            yield f"at {row['moment']}: equity {row['equity']} is not start and results {parameters.capital + won}"
        if row["cash"] < row["reserved"]:
            yield f"at {row['moment']}: more is reserved than there is"


def _exceeded(made: Simulation, p: TradingParameters) -> Iterator[str]:
    """Limits at every decision, counted anew."""
    if not p.limits:
        return
    equity = {row["moment"]: row for row in made.equity.iter_rows(named=True)}
    ends = {(row["strategy"], row["instrument"], row["signal_ts"]): row for row in made.trades.iter_rows(named=True)}
    missed = {tuple(row[:3]) for row in made.orders.filter(
        (made.orders["order_number"] == 0) & (made.orders["event"] == "cancelled")).iter_rows()}  # fmt: skip
    taken = [row for row in made.decisions.iter_rows(named=True) if row["taken"]]
    for number, row in enumerate(taken):
        moment, own = row["moment"], equity[row["moment"]]
        alive = [
            other for other in taken[:number]
            if (key := (other["strategy"], other["instrument"], other["signal_ts"])) not in missed
            and (key not in ends or ends[key]["exit_ts"] > moment)
        ]  # fmt: skip
        alive += [
            other for other in taken[:number]
            if (other["strategy"], other["instrument"], other["signal_ts"]) in missed
            and (moment - other["moment"]).total_seconds() < 900
        ]  # fmt: skip
        counts = Counter(other["instrument"] for other in alive)
        if len(alive) >= p.max_open or counts[row["instrument"]] >= p.per_instrument:
            yield f"too many are open at {moment}"
        risk = sum((other["risk"] for other in alive), row["risk"])
        if risk > own["equity"] * Decimal(repr(p.max_open_risk)):
            yield f"too much is at risk at {moment}"
        new = sum((other["size"] for other in alive if other["moment"] == moment), row["size"])
        if own["positions"] + own["reserved"] + new > own["equity"] * Decimal(repr(p.max_exposure)):
            yield f"too much is exposed at {moment}"
        if row["size"] > own["equity"] * Decimal(repr(p.max_position * max(1.0, p.size_factor))):
            yield f"a position is too large at {moment}"
        if row["size"] < p.min_order or own["state"] != "ACTIVE":
            yield f"a trade of {row['size']} in state {own['state']} at {moment}"


def _wrongly_reserved(made: Simulation) -> Iterator[str]:
    """At the end: each order that is not filled keeps its sum and its fee, and nothing else does."""
    bought = Counter(row[:3] for row in made.fills.filter(made.fills["units"] > 0).iter_rows())
    open_trades = {row[:3] for row in made.positions.select("strategy", "instrument", "signal_ts").iter_rows()}
    least = Decimal(0)
    for row in made.decisions.iter_rows(named=True):
        key = (row["strategy"], row["instrument"], row["signal_ts"])
        if key in open_trades:
            least += row["order_sum"] * (row["orders"] - bought[key])
    reserved = made.equity["reserved"][-1] if made.equity.height else Decimal(0)
    reserved += sum((row["size"] for row in made.decisions.iter_rows(named=True)
                     if row["taken"] and row["moment"] == made.equity["moment"][-1]), Decimal(0))  # fmt: skip
    if not least <= reserved <= least * Decimal("1.01"):
        yield f"reserved is {reserved}, orders that are not filled are {least}"
