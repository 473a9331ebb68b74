"""Shadow variants on stored signals: their ledgers beside production's, and the test of them.

All variants see the signals that production decided, with the predictions as they were stored, and the same bars. They
trade since production has had the parameters of today: before, it was another one. Ledgers are computed anew as a
whole, so a pass may be killed at any time and run again; a test is stored once in 28 days, whichever way it goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

import polars as pl

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.stored.intrabar import StoredMinutes
from crypto_pipeline.labels.stored.update import BAR_COLUMNS
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.registry import STRATEGIES, Strategy
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.ledger import AccountRow
from crypto_pipeline.store.trading.shadow import ShadowTest, VariantLedger
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.shadow.comparison import MINIMA, DailyResult, ShadowMinima, VariantComparison, compare
from crypto_pipeline.trading.shadow.ledgers import ShadowMarket, daily_outcomes, shadow_ledgers
from crypto_pipeline.trading.shadow.recommendation import next_test, recommend
from crypto_pipeline.trading.shadow.variants import CHAMPION, VARIANTS
from crypto_pipeline.trading.stored.production import PAPER, account_parameters
from crypto_pipeline.trading.stored.scans import traded_parameters
from crypto_pipeline.trading.stored.shadow.agreement import ChampionAgreement, champion_agreement
from crypto_pipeline.trading.stored.taken_signals import decided_signals

Compared = Mapping[str, Sequence[VariantComparison]]


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What the variants did beside production.

    Attributes:
        because: Why there is nothing to compare; empty: there is.
        since: Moment from which on all traded, each with the same capital.
        days: First and last whole UTC day that is compared; None: not one is over.
        outcomes: ``variation``, ``strategy``, ``day``, ``net`` (fraction), ``trades``.
        compared: By strategy every variant that concerns it, against production.
        agreement: Whether the ledger of CHAMPION is that of production.
        test: The newest test that is stored.
        untested: Why this pass made no test; empty: ``test`` is its.
        next_test: When the next one is due; None: as soon as there is enough.
    """

    because: str
    since: datetime | None = None
    days: tuple[date, date] | None = None
    outcomes: pl.DataFrame | None = None
    compared: Compared | None = None
    agreement: ChampionAgreement | None = None
    test: ShadowTest | None = None
    untested: str = ""
    next_test: datetime | None = None


def shadow_pass(store: Store, settings: Settings, minima: ShadowMinima = MINIMA) -> ShadowReport:
    """Trade all variants up to where the paper account stands, store their ledgers, and test them where that is due.

    Raises StoreError, and SettingsError for wrong trading parameters.
    """
    account = store.trading.ledger.account(PAPER)
    if account is None:
        return ShadowReport("the paper account has not begun: no bar has been scanned yet")
    champion = account_parameters(store, settings, account)
    sets = traded_parameters(settings)
    rows = store.trading.ledger.read("signals", PAPER)
    hashes = [one.hash for one in sets.values()]
    other = rows.filter((pl.col("parameters_hash") != champion.hash) | ~pl.col("params_hash").is_in(hashes))
    since = account.began if other.is_empty() else other["moment"].max()
    assert isinstance(since, datetime)
    rows = rows.filter(pl.col("moment") > since)
    if rows.is_empty():
        return ShadowReport("production has decided no signal yet with the parameters of today", since)
    market = _market(store, sets, rows, since, account)
    resets = [unix_ms(moment) for moment in store.trading.ledger.resets(PAPER, since)]
    made = shadow_ledgers(market, champion, unix_ms(since), resets=resets)
    outcomes = _store_ledgers(store, champion, made, Marks(market.panel))
    agreement = champion_agreement(store, made[CHAMPION], account) if other.is_empty() else None
    report = replace(compared_report(store, outcomes, minima), since=since, agreement=agreement)
    return _tested(store, report, champion, account.moment, minima)


def _market(
    store: Store, sets: Mapping[Strategy, Any], rows: pl.DataFrame, since: datetime, account: AccountRow
) -> ShadowMarket:
    signals = decided_signals(rows)
    names = sorted(signals["instrument"].unique().to_list())
    start = min(since, TIMEFRAME.floor(signals["signal_ts"].min()))  # type: ignore[arg-type]
    bars = store.reader.read(names, TIMEFRAME, start, account.moment, columns=BAR_COLUMNS)
    panel = Panel.from_bars(bars, names, start, account.moment, TIMEFRAME)
    return ShadowMarket(panel, signals, sets, StoredMinutes(store, panel), until=unix_ms(account.moment))


def _store_ledgers(
    store: Store, champion: TradingParameters, made: Mapping[str, Simulation], marks: Marks
) -> pl.DataFrame:
    """Store every ledger; daily outcomes of all."""
    found = []
    for name, simulation in made.items():
        variant = VARIANTS[name]
        parameters = variant.parameters(champion)
        outcomes = daily_outcomes(simulation, marks, float(champion.capital))
        store.trading.shadow.put(
            VariantLedger(
                name, parameters.hash, variant.about, variant.declares, parameters.model_dump(mode="json"),
                simulation.decisions, simulation.trades, outcomes,
            )
        )  # fmt: skip
        found.append(outcomes.select(pl.lit(name).alias("variation"), pl.all()))
    return pl.concat(found)


def compared_report(store: Store, outcomes: pl.DataFrame, minima: ShadowMinima = MINIMA) -> ShadowReport:
    """The report of daily ``outcomes`` of all variants; no test is made."""
    newest = next(iter(store.trading.shadow.tests(1)), None)
    if outcomes.is_empty():
        return ShadowReport("no whole UTC day has been traded yet", test=newest, untested="no day is over")
    first, last = outcomes["day"].min(), outcomes["day"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    compared = compare_outcomes(outcomes, last.toordinal(), minima)
    return ShadowReport("", None, (first, last), outcomes, compared, None, newest, "", _due(newest))


def _tested(
    store: Store, report: ShadowReport, champion: TradingParameters, moment: datetime, minima: ShadowMinima
) -> ShadowReport:
    """``report`` with a new test where one is due, or why there is none."""
    if report.compared is None or report.days is None:
        return report
    untested = _untested(report.compared, report.test, moment, minima)
    if untested:
        return replace(report, untested=untested)
    made = store.trading.shadow.add_test(_test(report.compared, champion, moment, *report.days))
    return replace(report, test=made, next_test=_due(made))


def compare_outcomes(
    outcomes: pl.DataFrame, seed: int, minima: ShadowMinima = MINIMA
) -> dict[str, list[VariantComparison]]:
    """Every variant that concerns a strategy against production, by strategy."""
    found = {}
    for strategy in STRATEGIES:
        own = outcomes.filter(pl.col("strategy") == str(strategy)).sort("variation", "day")
        results = {
            str(name): DailyResult(part["net"].to_numpy(), int(part["trades"].sum()))
            for (name,), part in own.group_by("variation", maintain_order=True)
        }
        champion = results.pop(CHAMPION)
        concerned = {name: result for name, result in results.items() if strategy in VARIANTS[name].strategies}
        found[str(strategy)] = compare(champion, concerned, seed, minima)
    return found


def _due(newest: ShadowTest | None) -> datetime | None:
    return next_test(None if newest is None else newest.market_time)


def _untested(compared: Compared, newest: ShadowTest | None, moment: datetime, minima: ShadowMinima) -> str:
    """Why no test is made now; empty: one is."""
    due = _due(newest)
    if due is not None and moment < due:
        return f"the next test is due on {due:%Y-%m-%d}"
    all_of_them = [each for variants in compared.values() for each in variants]
    days = max((each.days for each in all_of_them), default=0)
    if days < minima.days:
        return f"{days} days have been traded with the parameters of today: a test needs {minima.days}"
    if all(each.reasons for each in all_of_them):
        return f"no variant could be recommended yet: a test needs {minima.trades} trades of a strategy"
    return ""


def _test(compared: Compared, champion: TradingParameters, moment: datetime, first: date, last: date) -> ShadowTest:
    figures = {strategy: [asdict(each) for each in variants] for strategy, variants in compared.items()}
    recommended = {strategy: each.variant for strategy, each in recommend(compared).items()}
    return ShadowTest(moment, first, last, last.toordinal(), champion.hash, figures, recommended)
