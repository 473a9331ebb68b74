"""Whether the books of the account may be believed: they balance, nothing is left undone, trades are their labels, and
what is held is what the venue has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import polars as pl

from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.store import Store
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.shadow.ledgers import PATH_PARAMETERS

CHECKS = {
    "books_balance": "Every event of the ledger sums to zero in each currency; cash, costs, positions and equity are "
    "the same whichever table tells them.",
    "takes_followed_up": "Every setup that the scanner found has a decision, and every signal that was taken has an "
    "order, and then a position, a closed trade, or a cancelled entry.",
    "broker_equals_label": "Every closed trade has the outcome, exit and net return of its label, exactly.",
    "positions_equal_venue": "What is held of each trade is what its fills say, and the last comparison with each "
    "venue found no difference.",
}
#: Of a trade and of its label: what must be equal.
_COMPARED = {"outcome": "outcome", "exit_ts": "label_end_ts", "exit_price": "exit_px", "net_return": "net_return"}
_KEY = ("instrument", "signal_ts")
_NOTHING = "nothing was traded yet"


def check_account(store: Store, name: str, account: str) -> CheckOutcome:
    """Run the check ``name`` of CHECKS on an account. The subject of the outcome is the account."""
    return _CHECKS[name](store, account)


def books_balance(store: Store, account: str) -> CheckOutcome:
    """Sum the postings, and compare sums that two tables tell."""
    name, reads = "books_balance", store.trading.portfolio
    decided, _, fills = reads.counts(account)
    unbalanced = reads.unbalanced(account)
    if unbalanced.height:
        words = f"{unbalanced.height} events do not sum to zero"
        return CheckOutcome(name, account, False, "critical", words, unbalanced)
    differing = reads.disagreements(account)
    if differing:
        rows = pl.DataFrame(
            [(what, str(one), str(other)) for what, one, other in differing],
            schema={"what": pl.String(), "told": pl.String(), "also_told": pl.String()},
            orient="row",
        )
        words = f"{differing[0][0]}: {differing[0][1]} and {differing[0][2]} are not the same"
        return CheckOutcome(name, account, False, "critical", words, rows)
    words = f"all {fills} events sum to zero, and all sums agree" if fills else _NOTHING
    return CheckOutcome(name, account, True, "critical", words, figures={"events": fills, "signals": decided})


def takes_followed_up(store: Store, account: str) -> CheckOutcome:
    """Look for setups without a decision, and for taken signals without what must follow."""
    name, lacking = "takes_followed_up", store.trading.portfolio.unfollowed(account)
    decided, taken, _ = store.trading.portfolio.counts(account)
    if lacking.height:
        row = lacking.row(0, named=True)
        words = (
            f"{lacking.height} are not followed up, the first {row['strategy']} {row['instrument']} at "
            f"{row['signal_ts']:%Y-%m-%d %H:%M} UTC: {row['lacks']}"
        )
        return CheckOutcome(name, account, False, "error", words, lacking)
    words = f"all setups have a decision, and all {taken} taken signals are followed up" if decided else _NOTHING
    return CheckOutcome(name, account, True, "error", words, figures={"signals": decided, "taken": taken})


def broker_equals_label(store: Store, account: str) -> CheckOutcome:
    """Compare closed trades that were traded as their labels are made with these labels, where they are stored."""
    name = "broker_equals_label"
    trades = store.trading.ledger.read("trade_logs", account)
    decided = store.trading.ledger.read("signals", account).select("strategy", *_KEY, "params_hash", "parameters_hash")
    joined = trades.join(decided, on=["strategy", *_KEY], how="inner")
    compared, differing = 0, []
    for group, rows in joined.group_by("strategy", "params_hash", "parameters_hash", maintain_order=True):
        strategy, params_hash, parameters_hash = (str(part) for part in group)
        given = store.trading.ledger.parameters(parameters_hash)
        if not _as_labelled(TradingParameters.model_validate(given), Strategy(strategy)):
            continue
        beside = _beside_labels(store, Strategy(strategy), params_hash, rows)
        compared += beside.height
        differing.append(beside.filter(~_equal()))
    offenders = pl.concat(differing) if differing else pl.DataFrame()
    if offenders.height:
        row = offenders.row(0, named=True)
        words = (
            f"{offenders.height} of {compared} trades are not their labels, the first {row['strategy']} "
            f"{row['instrument']} at {row['signal_ts']:%Y-%m-%d %H:%M} UTC"
        )
        return CheckOutcome(name, account, False, "error", words, offenders)
    words = f"{compared} of {trades.height} closed trades have a label, and all of them are it" if compared else (
        f"none of {trades.height} closed trades has a label yet" if trades.height else _NOTHING
    )  # fmt: skip
    return CheckOutcome(name, account, True, "error", words, figures={"compared": compared})


def _as_labelled(parameters: TradingParameters, strategy: Strategy) -> bool:
    """Whether the paths of a strategy's trades are those of its labels: nothing about stops, targets, horizons or
    orders is changed.
    """
    own, plain = parameters.of(strategy), TradingParameters.model_validate({})
    return all(getattr(own, name) == getattr(plain, name) for name in PATH_PARAMETERS)


def _beside_labels(store: Store, strategy: Strategy, params_hash: str, trades: pl.DataFrame) -> pl.DataFrame:
    """Trades of one strategy beside their stored labels, whose columns begin with ``label_``."""
    first, last = trades["signal_ts"].min(), trades["signal_ts"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    labels = store.labels.read(strategy.definition.table, params_hash, first, last + TIMEFRAME.delta)
    named = labels.select(*_KEY, *(pl.col(of).alias(f"label_{name}") for name, of in _COMPARED.items()))
    found = trades.join(named, on=list(_KEY), how="inner", maintain_order="left")
    return found.select("strategy", *_KEY, *_COMPARED, *(f"label_{name}" for name in _COMPARED))


def _equal() -> pl.Expr:
    return pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"label_{name}")) for name in _COMPARED)


def positions_equal_venue(store: Store, account: str) -> CheckOutcome:
    """Compare positions with fills and postings, and look at the last comparison with each venue."""
    name, reads = "positions_equal_venue", store.trading.portfolio
    held = reads.held_differently(account)
    if held.height:
        row = held.row(0, named=True)
        words = (
            f"{held.height} trades are held differently than their fills say, the first {row['strategy']} "
            f"{row['instrument']} at {row['signal_ts']:%Y-%m-%d %H:%M} UTC"
        )
        return CheckOutcome(name, account, False, "critical", words, held)
    venues = reads.reconciliations()
    wrong = [(broker, at, text) for broker, at, passed, found in venues if not passed for text in found]
    if wrong:
        schema = {"broker": pl.String(), "at": UTC_MS, "difference": pl.String()}
        words = f"{wrong[0][0]} has something else than the ledger: {wrong[0][2]}"
        return CheckOutcome(name, account, False, "critical", words, pl.DataFrame(wrong, schema=schema, orient="row"))
    names = ", ".join(broker for broker, *_ in venues)
    words = "what is held is what the fills say" + (f", and what {names} has" if names else "; no venue is connected")
    return CheckOutcome(name, account, True, "critical", words)


_CHECKS: Mapping[str, Callable[[Store, str], CheckOutcome]] = {
    "books_balance": books_balance,
    "takes_followed_up": takes_followed_up,
    "broker_equals_label": broker_equals_label,
    "positions_equal_venue": positions_equal_venue,
}
