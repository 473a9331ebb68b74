"""A replay of trading: the functions of live trading over a span of stored history, from a new account on.

The same bars, parameters and predictions give the same decisions, orders, fills and postings to the last digit, whether
the span is traded live, caught up or replayed. With ``as_of`` a replay sees the bars and predictions that were stored
by then, and nothing that came later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.reading.display.progress import Steps, no_steps
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.trading.ledger.booking import opening
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.ledger.rows import POSTING_SCHEMA
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.portfolio.book import TradingBook
from crypto_pipeline.trading.portfolio.journal import journal
from crypto_pipeline.trading.shadow.ledgers import ShadowMarket, shadow_ledgers
from crypto_pipeline.trading.shadow.variants import CHAMPION, VARIANTS, find_variant
from crypto_pipeline.trading.stored.production import PAPER, production_parameters
from crypto_pipeline.trading.stored.signal_inputs import SignalInputs, read_signals


@dataclass(frozen=True, slots=True, repr=False)
class TradingReplay:
    """What trading would have done in a span.

    Attributes:
        variant: Name of the variant.
        parameters: It traded with them.
        signals: Every signal of the span, with what it was decided from.
        simulation: Decisions, orders, fills, trades, postings and equity as frames (``trading.ledger.rows``).
        book: The same with figures.
        as_of: What was stored by then; None: what is stored now.
    """

    variant: str
    parameters: TradingParameters
    signals: pl.DataFrame
    simulation: Simulation
    book: TradingBook
    as_of: datetime | None

    def __repr__(self) -> str:
        book, figures = self.book, self.book.figures
        span = f"{book.start:%Y-%m-%d %H:%M} to {book.end:%Y-%m-%d %H:%M} UTC"
        return (
            f"<{self.title}, {span}: {self.signals.height} signals, {figures.trades} trades, {figures.wins} won, "
            f"{figures.pnl:.2f} {book.currency} after {figures.fees:.2f} fees and {figures.slippage:.2f} slippage>"
        )

    @property
    def title(self) -> str:
        """The replay in a few words."""
        return f"Replay of trading, {self.variant}"

    def journal(self) -> str:
        """Its ledger as a journal of beancount, with the capital that it begins with."""
        given = self.parameters
        rows = [(None, None, None, 0, self.book.start, *posting) for posting in opening(given.capital, given.currency)]
        began = pl.DataFrame(rows, schema=POSTING_SCHEMA, orient="row")
        return journal(pl.concat([began, self.simulation.postings]), self.title)


def replay_trading(
    store: Store,
    settings: Settings,
    start: datetime,
    end: datetime,
    *,
    variant: str = CHAMPION,
    instruments: Sequence[str] = (),
    strategies: Sequence[Strategy] = (),
    as_of: datetime | None = None,
    parameters: TradingParameters | None = None,
    report: Steps = no_steps,
) -> TradingReplay:
    """Trade the 15m bars that opened in ``[start, end)`` (UTC) with a new account. Nothing is stored.

    ``variant``: production's parameters with what the variant declares. ``instruments``: default every active one of a
    tier that is traded. ``strategies``: default all of them. ``as_of``: only what was stored by then. ``parameters``:
    others than those of production. ``report`` takes the weeks whose signals are found. A trade that is open at the end
    stays open. Where it begins with the paper account, resets of halts by a person count as they were made. Raises
    StoreError for an unknown instrument or variant, where a span has no closed 15m bar, and when the database fails.
    """
    champion = production_parameters(store, settings) if parameters is None else parameters
    try:
        chosen = find_variant(variant)
    except ValueError as error:
        raise StoreError(str(error)) from None
    name = next(key for key, one in VARIANTS.items() if one is chosen)
    first, until = _span(store, start, end, as_of)
    inputs = read_signals(
        store, settings, first, until, instruments=instruments, strategies=strategies, as_of=as_of, report=report
    )
    _require_bars(inputs, first, until, as_of)
    market = ShadowMarket(inputs.panel, inputs.signals, inputs.strategies, inputs.minutes)
    made = shadow_ledgers(market, champion, unix_ms(first), names=[name], resets=_resets(store, first))[name]
    own = chosen.parameters(champion)
    return TradingReplay(name, own, inputs.signals, made, _book(name, own, inputs, made, first, until, as_of), as_of)


def _resets(store: Store, first: datetime) -> list[int]:
    """Moments (Unix ms) at which a person reset a halt, of a replay that begins where the paper account began."""
    account = store.trading.ledger.account(PAPER)
    if account is None or account.began != first:
        return []
    return [unix_ms(moment) for moment in store.trading.ledger.resets(PAPER, first)]


def _span(store: Store, start: datetime, end: datetime, as_of: datetime | None) -> tuple[datetime, datetime]:
    """The span on the grid of 15m bars: it ends with the last bar that has closed, by ``as_of`` where that is given."""
    now = store.clock.now() if as_of is None else min(store.clock.now(), as_of)
    first, until = TIMEFRAME.ceil(start), TIMEFRAME.floor(min(end, now))
    if first >= until:
        raise StoreError(
            f"no 15m bar opens and closes between {start:%Y-%m-%d %H:%M} and {min(end, now):%Y-%m-%d %H:%M} UTC: "
            "give an earlier start or a later end"
        )
    return first, until


def _require_bars(inputs: SignalInputs, start: datetime, end: datetime, as_of: datetime | None) -> None:
    """Raise StoreError in one line where there is nothing to trade on."""
    if not inputs.panel.names:
        raise StoreError("no instrument of a tier that is traded is collected: see `crypto-pipeline instruments list`")
    place = inputs.panel.grid.row_from(start)
    if np.isnan(inputs.panel.close[:, place:]).all():
        known = "" if as_of is None else f" that was stored by {as_of:%Y-%m-%d %H:%M} UTC"
        raise StoreError(
            f"the database has no 15m bar{known} between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC"
        )


def _book(
    name: str,
    parameters: TradingParameters,
    inputs: SignalInputs,
    made: Simulation,
    start: datetime,
    end: datetime,
    as_of: datetime | None,
) -> TradingBook:
    facts = {
        "variant": name,
        "trading parameters": parameters.hash,
        **{f"parameters of {strategy}": one.hash for strategy, one in inputs.strategies.items()},
        "instruments": f"{len(inputs.panel.names)}: {', '.join(inputs.panel.names)}",
        "signals": str(inputs.signals.height),
        "signals with a prediction": str(inputs.signals["model_id"].count()),
        "as of": "what is stored now" if as_of is None else f"{as_of:%Y-%m-%dT%H:%M:%SZ}",
    }
    return TradingBook(name, parameters.currency, start, end, made.decisions, made.trades, made.equity, facts)
