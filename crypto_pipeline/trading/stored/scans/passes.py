"""Scans of stored bars: one function for the bar that has just closed and for a span of the past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.arrays.panel import Ints
from crypto_pipeline.features.stored.update import Universe
from crypto_pipeline.labels.finality import accounted
from crypto_pipeline.labels.parameters import DEFAULT, parameter_sets
from crypto_pipeline.labels.stored.update import traded
from crypto_pipeline.labels.strategies.base import TIMEFRAME, WARM_UP, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.coverage.cell_locks import EXPLAINING
from crypto_pipeline.store.trading.scan_columns import SCAN_SCHEMA
from crypto_pipeline.store.trading.scans import ScanProgress
from crypto_pipeline.trading.scanning.readiness import Readiness, known_bars, ready
from crypto_pipeline.trading.scanning.scan import ScanDecision, conditions_for, scan
from crypto_pipeline.trading.stored.scans.day_cache import DayCache
from crypto_pipeline.trading.stored.scans.inputs import ScanBars, monday, plain_reader, read_scan_bars

#: So many days are scanned from one reading of bars.
_DAYS_AT_ONCE = 56
#: A collection that is still incomplete so long after its newest instrument was added is scanned as it is.
_COLLECTED_WITHIN = timedelta(hours=2)
#: The share of expected bars that may be absent without a reason when scanning begins.
_NEARLY_ALL = 0.001


@dataclass(slots=True)
class ScanReport:
    """What a pass did.

    Attributes:
        scans: Rows that were stored.
        takes: Setups among them.
        start: Open of the first bar that was scanned; None: none was.
        until: Bars that opened before it are scanned now; None: scanning has not begun.
        waits_for: Instruments whose bar is waited for.
    """

    scans: int = 0
    takes: int = 0
    start: datetime | None = None
    until: datetime | None = None
    waits_for: list[str] = field(default_factory=list)


def traded_parameters(settings: Settings) -> dict[Strategy, Parameters]:
    """The parameters that are traded, by strategy in the registry's order."""
    return parameter_sets(settings.label_parameters)[DEFAULT]


def scan_span(
    store: Store,
    settings: Settings,
    start: datetime,
    end: datetime,
    *,
    instruments: Sequence[str] = (),
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """Scans of all bars that open in ``[start, end)``, in SCAN_SCHEMA. Nothing is stored.

    Sorted by bar, strategy (in the registry's order) and instrument.

    ``instruments``: default all that are traded. ``as_of``: from what was known then. Raises StoreError for an unknown
    instrument.
    """
    sets, tiers = traded_parameters(settings), traded(store, instruments)
    found = [pl.DataFrame(schema=SCAN_SCHEMA)]
    for first, until in _stretches(start, end):
        benchmark = Universe.from_store(store, settings.feature_benchmark).benchmark
        if tiers:
            bars = read_scan_bars(plain_reader(store, as_of), tiers, list(sets.values()), first, until, benchmark)
            found.append(scan_weeks(bars, sets, first, until))
    return pl.concat(found)


def scan_weeks(bars: ScanBars, sets: Mapping[Strategy, Parameters], start: datetime, end: datetime) -> pl.DataFrame:
    """Scans of ``[start, end)`` from ``bars``, each week from its own first bar on (see ``inputs``)."""
    found = [pl.DataFrame(schema=SCAN_SCHEMA)]
    moment = start
    while moment < end:
        until = min(monday(moment) + timedelta(days=7), end)
        for number, (strategy, parameters) in enumerate(sets.items()):
            part = bars.before(parameters, moment, until)
            scans = scan(
                strategy, part.panel, part.context(strategy), parameters, list(part.tiers.values()), part.market,
                part.place(moment),
            )  # fmt: skip
            found.append(scans.rows.with_columns(number=number))
        moment = until
    rows = pl.concat(found, how="diagonal")
    return rows.sort("signal_ts", "number", "instrument").select(*SCAN_SCHEMA) if len(found) > 1 else rows


def _stretches(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    moment = TIMEFRAME.ceil(start)
    while moment < end:
        until = min(monday(moment) + timedelta(days=_DAYS_AT_ONCE), end)
        yield moment, until
        moment = until


def scan_pass(store: Store, settings: Settings, now: datetime) -> ScanReport:
    """One pass of a ``ScanPass`` that remembers nothing."""
    return ScanPass(settings).run(store, now)


class ScanPass:
    """Scans bars that have closed, pass after pass. It keeps the bars that it has read and that did not change since:
    of a bar that has just closed little more than that bar is read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._sets = settings, traded_parameters(settings)
        self._bars = DayCache()

    def run(self, store: Store, now: datetime) -> ScanReport:
        """Scan every bar that has closed by ``now`` and is not scanned yet, in order, and store the scans.

        A bar is scanned when the bars of all traded instruments of that time are there or explained, or when one has
        been absent for ``scan_deadline_seconds`` after its close. Each is scanned once: what comes later changes
        nothing. Of days that are older than ``keep_scan_days`` only setups are stored. Raises StoreError.
        """
        report, progress = ScanReport(), store.trading.scans.progress()
        if progress is not None and progress.scanned_until >= TIMEFRAME.floor(now):
            report.until = progress.scanned_until
            return report
        tiers = traded(store)
        progress = progress or _begin(store, list(tiers), now)
        if progress is None or not tiers:
            return report
        report.until = progress.scanned_until
        benchmark = Universe.from_store(store, self._settings.feature_benchmark).benchmark
        for start, end in _stretches(progress.scanned_until, TIMEFRAME.floor(now)):
            bars = read_scan_bars(self._bars.reader(store), tiers, list(self._sets.values()), start, end, benchmark)
            found = _readiness(store, self._settings, bars, start, now, progress.waits_since)
            until = start + TIMEFRAME.delta * found.count
            if found.count and not self._store(store, scan_weeks(bars, self._sets, start, until), start, until, report):
                return report  # another pass was faster
            if found.since is not None:
                report.waits_for = [list(tiers)[number] for number in found.waits_for]
                store.trading.scans.wait(found.since)
                break
        return report

    def _store(self, store: Store, scans: pl.DataFrame, start: datetime, until: datetime, report: ScanReport) -> bool:
        kept = midnight(store.clock.now()) - timedelta(days=self._settings.keep_scan_days)
        rows = scans.filter((pl.col("signal_ts") >= kept) | (pl.col("decision") == str(ScanDecision.TAKE)))
        conditions = [conditions_for(strategy, parameters) for strategy, parameters in self._sets.items()]
        if not store.trading.scans.put(rows, conditions, start, until):
            return False
        report.scans += rows.height
        report.takes += rows.filter(pl.col("decision") == str(ScanDecision.TAKE)).height
        report.start, report.until = report.start or start, until
        return True


def _readiness(
    store: Store, settings: Settings, bars: ScanBars, start: datetime, now: datetime, waits_since: datetime | None
) -> Readiness:
    explained = store.ledger.open(TIMEFRAME, list(bars.tiers), EXPLAINING, start, bars.panel.grid.end)
    known = known_bars(bars.panel, bars.hours, accounted(bars.panel, explained), trend=bars.four)
    numbers, places = _unfinished(store, bars, start)
    known[numbers, places] = False
    # so long by a clock on the wall: a market that is replayed fast does not heal any faster
    deadline = timedelta(seconds=settings.scan_deadline_seconds * settings.clock_rate)
    return ready(bars.panel, known, bars.place(start), now=now, waits_since=waits_since, deadline=deadline)


def _unfinished(store: Store, bars: ScanBars, start: datetime) -> tuple[Ints, Ints]:
    """Numbers and places of stored 15m bars from ``start`` on that are not complete, or whose hour is not: such a bar
    may still change.
    """
    grid, columns = bars.panel.grid, ("instrument", "open_time", "complete")
    numbers = {name: number for number, name in enumerate(bars.tiers)}
    found = [
        store.reader.read(list(numbers), one, start, grid.end, columns=columns)
        .filter(~pl.col("complete"))
        .select("instrument", pl.col("open_time") + one.delta - TIMEFRAME.delta)
        for one in (TIMEFRAME, Timeframe.H1)
    ]
    rows = pl.concat(found)
    places = (rows["open_time"].to_physical().to_numpy() - grid.first) // grid.step
    return rows["instrument"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy(), places


def _begin(store: Store, names: list[str], now: datetime) -> ScanProgress | None:
    """Begin where the first instrument is warm, once what is collected is nearly complete; None: not yet."""
    cells = store.coverage.cells([TIMEFRAME, Timeframe.H1, Timeframe.H4], None, None, names)
    held = cells.filter((pl.col("present") > 0) & (pl.col("timeframe") == str(TIMEFRAME)))
    if not names or held.is_empty():
        return None
    absent = (pl.col("expected") - pl.col("present") - pl.col("explained")).clip(0).sum() / pl.col("expected").sum()
    complete = held["instrument"].n_unique() == len(names) and cells.select(absent <= _NEARLY_ALL).item() is True
    added = max(row.added_at for row in store.instruments.list() if row.instrument.symbol in names)
    if not complete and store.features.clock() - added < _COLLECTED_WITHIN:
        return None
    first = held["day"].min()
    start = midnight(first) + WARM_UP * TIMEFRAME.delta  # type: ignore[arg-type]
    return store.trading.scans.begin(min(start, TIMEFRAME.floor(now)))
