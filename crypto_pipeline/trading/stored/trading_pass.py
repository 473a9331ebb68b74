"""The pass that trades: what was scanned is decided, and what the bars brought is booked, each moment once.

It begins where the account stands and goes on to the last bar that is scanned, whether that is one bar that has just
closed or weeks that were slept through: the same functions, the same rows. All rows of a stretch are one transaction,
which finds the account where the pass found it or stores nothing. Bars that were healed under a booked trade are
noticed by their data versions; the trade is then corrected at the first moment of the pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.features.stored.update import Universe
from crypto_pipeline.labels.intrabar import MinuteSource
from crypto_pipeline.labels.stored.intrabar import StoredMinutes
from crypto_pipeline.labels.stored.update import BAR_COLUMNS, traded
from crypto_pipeline.labels.strategies.base import DAY, TIMEFRAME, WEEK
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.ledger import AccountRow, LedgerRows
from crypto_pipeline.store.trading.ledger_columns import LEDGER_TABLES
from crypto_pipeline.store.trading.ledger_reads import TradeId
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.ledger.booking import opening
from crypto_pipeline.trading.ledger.corrections import Correction, correction_of
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.ledger.risk_changes import reason_of, risk_changes, state_words
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import TradePaths
from crypto_pipeline.trading.simulate import simulate
from crypto_pipeline.trading.stored.account_state import booked_trades, stored_state
from crypto_pipeline.trading.stored.decided_paths import DecidedPaths
from crypto_pipeline.trading.stored.predicted import with_predictions
from crypto_pipeline.trading.stored.production import PAPER, account_parameters, production_parameters
from crypto_pipeline.trading.stored.scans import traded_parameters
from crypto_pipeline.trading.stored.taken_signals import decided_signals, scanned_signals

#: So much is booked in one transaction.
_TOGETHER = timedelta(days=28)
#: Bars before a signal that its values are made of.
_BEFORE = timedelta(minutes=15) * (WEEK + DAY)
#: Data versions are numbered before they are committed: so many before the newest are looked at once more.
_UNCOMMITTED = 1_000


@dataclass(slots=True)
class TradingReport:
    """What a pass did.

    Attributes:
        moments: Moments that were processed.
        signals: Signals that were decided.
        taken: Those that were taken.
        fills: Fills that were booked, reversals included.
        ended: Trades that ended.
        corrected: Trades that were booked anew, because bars were healed under them.
        moment: The last moment of the account; None: it has not begun.
    """

    moments: int = 0
    signals: int = 0
    taken: int = 0
    fills: int = 0
    ended: int = 0
    corrected: int = 0
    moment: datetime | None = None


def trading_pass(store: Store, settings: Settings) -> TradingReport:
    """Bring the paper account to the last bar that is scanned. A short query where it stands there already.

    Raises StoreError, and SettingsError for wrong trading parameters.
    """
    report, ledger = TradingReport(), store.trading.ledger
    progress = store.trading.scans.progress()
    if progress is None:
        return report
    account = ledger.account(PAPER) or _begin(store, settings, progress.scanned_from)
    report.moment = account.moment
    while account.moment < progress.scanned_until:
        until = min(account.moment + _TOGETHER, progress.scanned_until)
        if not _Stretch(store, settings, account, until).book(report):
            return report  # another pass was faster
        found = ledger.account(PAPER)
        assert found is not None
        account, report.moment = found, found.moment
    return report


def _begin(store: Store, settings: Settings, began: datetime) -> AccountRow:
    """Open the paper account where scanning began: the history that is collected is traded from its first warm bar."""
    parameters = production_parameters(store, settings)
    _declare(store, parameters)
    store.trading.ledger.begin(
        PAPER, parameters.currency, parameters.capital, parameters.hash, began,
        opening(parameters.capital, parameters.currency),
    )  # fmt: skip
    account = store.trading.ledger.account(PAPER)
    assert account is not None
    return account


def _declare(store: Store, parameters: TradingParameters) -> None:
    store.trading.ledger.declare(parameters.hash, parameters.model_dump(mode="json"))


class _Stretch:
    """The moments after an account's last one up to ``until``, booked in one transaction."""

    def __init__(self, store: Store, settings: Settings, account: AccountRow, until: datetime) -> None:
        self._store, self._settings, self._account, self._until = store, settings, account, until
        self._parameters = account_parameters(store, settings, account)
        self._sets = traded_parameters(settings)

    def book(self, report: TradingReport) -> bool:
        """Decide and book; False where another pass was faster. Counts into ``report``."""
        store, account, ledger = self._store, self._account, self._store.trading.ledger
        version = max(0, ledger.newest_version() - _UNCOMMITTED)  # before bars are read
        state = stored_state(store, account)
        affected = ledger.affected(account.account, account.checked_version, account.moment)
        old_rows = ledger.rows_of("signals", account.account, _trades(state, affected))
        takes = store.trading.scans.read(account.moment, self._until, decision="TAKE")
        panel, minutes, fresh = self._bars(old_rows, takes)
        signals, paths = self._paths(panel, minutes, old_rows, fresh)
        corrections = self._corrections(old_rows, state, signals, paths)
        made = simulate(
            signals, paths, Marks(panel), self._parameters, state, unix_ms(self._until),
            [unix_ms(moment) for moment in ledger.resets(account.account, account.moment)], corrections,
        )  # fmt: skip
        _declare(store, self._parameters)
        for parameters in self._sets.values():
            ledger.declare(parameters.hash, parameters.model_dump(mode="json"))
        rows = self._rows(made, fresh)
        if not ledger.advance(account.account, account.moment, self._until, self._parameters.hash, rows, version):
            return False
        _count(report, made, corrections)
        return True

    def _bars(self, old: pl.DataFrame, takes: pl.DataFrame) -> tuple[Panel, MinuteSource, pl.DataFrame]:
        """15m bars of every instrument with a signal, and the new signals."""
        store = self._store
        benchmark = Universe.from_store(store, self._settings.feature_benchmark).benchmark
        names = sorted({*old["instrument"].to_list(), *takes["instrument"].to_list()})
        if takes.height and benchmark is not None and benchmark not in names:
            names.append(benchmark)
        starts = [self._account.moment, *old["signal_ts"].to_list()]
        start = min(starts) if takes.is_empty() else min(*starts, takes["signal_ts"].min() - _BEFORE)  # type: ignore[operator]
        bars = store.reader.read(names, TIMEFRAME, start, self._until, columns=BAR_COLUMNS) if names else None
        panel = Panel.from_bars(_NO_BARS if bars is None else bars, names, start, self._until, TIMEFRAME)
        fresh = scanned_signals(takes, panel, traded(store), benchmark)
        fresh = with_predictions(store, fresh, self._account.moment, self._until)
        return panel, StoredMinutes(store, panel), fresh

    def _paths(
        self, panel: Panel, minutes: MinuteSource, old: pl.DataFrame, fresh: pl.DataFrame
    ) -> tuple[pl.DataFrame, TradePaths]:
        signals = pl.concat(
            [decided_signals(old), fresh.with_columns(parameters_hash=pl.lit(self._parameters.hash))],
            how="diagonal_relaxed",
        )
        paths = DecidedPaths(self._store, self._parameters, self._sets).of(panel, signals, minutes)
        return signals, paths

    def _corrections(
        self, old: pl.DataFrame, state: AccountState, signals: pl.DataFrame, paths: TradePaths
    ) -> list[Correction]:
        keys = zip(*(signals[name].to_list() for name in ("strategy", "instrument")),
                   signals["signal_ts"].to_physical().to_list(), strict=True)  # fmt: skip
        rows = {key: row for row, key in enumerate(keys)}
        trades: list[TradeId] = list(old.select("strategy", "instrument", "signal_ts").iter_rows())
        found = []
        for booked in booked_trades(self._store, self._account.account, trades, state, old):
            correction = correction_of(
                booked.trade, booked.standing, ended=booked.ended, paths=paths, row=rows[tuple(booked.trade.key)],
                moment=state.moment,
            )  # fmt: skip
            if correction is not None:
                found.append(correction)
        return found

    def _rows(self, made: Simulation, fresh: pl.DataFrame) -> LedgerRows:
        key = ["strategy", "instrument", "signal_ts"]
        decided = [name for name in LEDGER_TABLES["signals"] if name not in fresh.columns or name in key]
        signals = made.decisions.select([name for name in made.decisions.columns if name in decided or name in key])
        signals = signals.join(fresh, on=key, how="left", maintain_order="left")
        before = self._store.trading.ledger.last_equity(self._account.account, self._account.moment)
        words = state_words("ACTIVE", "resumed")
        if before.height:
            row = before.row(0, named=True)
            words = state_words(row["state"], reason_of(row))
        return LedgerRows(
            signals.select(*LEDGER_TABLES["signals"]), made.orders, made.fills, made.postings, made.trades, made.equity,
            made.positions, made.reopened, risk_changes(made.equity, words),
        )  # fmt: skip


#: What is read where no instrument has a signal.
_NO_BARS = pl.DataFrame(
    schema={
        "instrument": pl.String(),
        "open_time": pl.Datetime("ms", "UTC"),
        **dict.fromkeys(BAR_COLUMNS[2:], pl.Float64()),
    }
)


def _trades(state: AccountState, affected: Sequence[TradeId]) -> list[TradeId]:
    """Trades that are open, and those whose bars have changed; each once."""
    opened = [(key.strategy, key.instrument, from_unix_ms(key.signal_ts)) for key in state.open]
    return sorted({*opened, *affected})


def _count(report: TradingReport, made: Simulation, corrections: Sequence[Correction]) -> None:
    report.moments += made.equity.height
    report.signals += made.decisions.height
    report.taken += int(made.decisions["taken"].sum())
    report.fills += made.fills.height
    report.ended += made.trades.height
    report.corrected += len(corrections)
