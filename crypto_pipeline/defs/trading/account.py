"""The assets ``signals``, ``trading/trades`` and ``equity``: decisions, what became of them, what the account is worth.

Live trading books each bar seconds after it has closed, in the program that keeps features. What it could not do is
made good here, by the same function.
"""

from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import MEDIUM, asset_job, schedule, sensor, tags
from crypto_pipeline.defs.base.subjects import TRADING
from crypto_pipeline.defs.trading import columns
from crypto_pipeline.defs.trading.account_figures import equity_shown, signals_shown, trades_shown
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.accounts.portfolio import PortfolioReader, StoredAccount
from crypto_pipeline.trading.stored.production import PAPER
from crypto_pipeline.trading.stored.trading_pass import trading_pass

SIGNALS, EQUITY = dg.AssetKey("signals"), dg.AssetKey("equity")
#: The plain name is that of the market's trades.
TRADES = dg.AssetKey(["trading", "trades"])
_FRESH = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=3), warn_window=timedelta(hours=2))
#: Seconds between two looks whether trading has begun.
_LOOK_EVERY = 15


@dg.asset(
    key=SIGNALS,
    **TRADING.arguments("trading"),
    kinds={"postgres", "polars"},
    deps=["scan_history", "predictions"],
    description="Every setup of the traded set with what was decided of it, once, and all that it was decided from: "
    "taken with its size, or rejected with the limit, what was found and what is allowed.",
    metadata={"dagster/table_name": "trading.signals", "dagster/column_schema": columns.SIGNALS},
    freshness_policy=_FRESH,
)
def signals(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
    """Decide and book what live trading has not, and show the decisions."""
    settings = load_settings()
    with database.store() as store:
        report = trading_pass(store, settings)
        context.log.info(
            f"{report.moments} moments were not booked yet: {report.signals} signals, {report.fills} fills"
        )
        return _result(_account(store), signals_shown, {"made_now": report.signals, "corrected": report.corrected})


@dg.asset(
    key=TRADES,
    **TRADING.arguments("trading"),
    kinds={"postgres", "polars"},
    deps=[SIGNALS],
    description="Every closed trade of the paper account, fees and slippage apart; a trade whose bars were healed is "
    "booked again, and its row is there once, as it is now.",
    metadata={"dagster/table_name": "trading.trade_logs", "dagster/column_schema": columns.TRADES},
    freshness_policy=_FRESH,
)
def trades(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
    """Show what trades have come to, and one of them on its candles."""
    with database.store() as store:
        found = _account(store)
        return _result(found, lambda account: trades_shown(store, account), {})


@dg.asset(
    key=EQUITY,
    **TRADING.arguments("trading"),
    kinds={"postgres", "polars"},
    deps=[TRADES],
    description="The paper account after each 15m bar, marked at its closes: cash, positions, drawdown, state, and the "
    "marks of its guards. Ratios are on years of 365 days.",
    metadata={"dagster/table_name": "trading.equity", "dagster/column_schema": columns.EQUITY},
    freshness_policy=_FRESH,
)
def equity(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
    """Show the equity curve with its figures."""
    with database.store() as store:
        return _result(_account(store), equity_shown, {})


def _account(store: Store) -> StoredAccount | None:
    return PortfolioReader(store, load_settings()).account()


def _result(found: StoredAccount | None, show: Any, more: dict[str, Any]) -> dg.MaterializeResult[None]:
    if found is None:
        words = "trading begins when bars have been scanned"
        return dg.MaterializeResult(metadata={"dagster/row_count": 0, "summary": words, **more})
    return dg.MaterializeResult(metadata={**show(found), **more})


book_trades = asset_job(
    "book_trades",
    [SIGNALS, TRADES, EQUITY],
    tags(MEDIUM),
    "Decides and books what live trading has not, shows the account, and checks its books.",
)
schedules = [
    schedule(
        "trades_hourly", book_trades, "27 * * * *", "Every hour: books what live trading missed, and checks the books."
    )
]


@sensor(
    name="trading_begun",
    job=book_trades,
    minimum_interval_seconds=_LOOK_EVERY,
    description="Once, when the first bars are traded: shows the account, and checks its books.",
)
def trading_begun(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.RunRequest | dg.SkipReason:
    """Ask for one run as soon as there is an account."""
    if context.cursor:
        return dg.SkipReason(f"trading was shown first at {context.cursor}")
    with database.store() as store:
        found = store.trading.ledger.account(PAPER)
    if found is None or found.moment == found.began:
        return dg.SkipReason("nothing was traded yet")
    context.update_cursor(found.moment.isoformat())
    return dg.RunRequest(run_key="trading_begun")
