"""Signals of a span from the store, with the bars that their trades run over: read once for accounts and variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.arrays.arithmetic import lagged
from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.features.stored.update import Universe
from crypto_pipeline.labels.intrabar import MinuteSource
from crypto_pipeline.labels.stored.intrabar import StoredMinutes
from crypto_pipeline.labels.stored.update import traded
from crypto_pipeline.labels.strategies.base import WEEK, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.reading.display.progress import Steps, no_steps
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.scanning.takes import takes
from crypto_pipeline.trading.signals import MarketStates, merged, signals_of
from crypto_pipeline.trading.stored.predicted import with_predictions
from crypto_pipeline.trading.stored.scans import traded_parameters
from crypto_pipeline.trading.stored.scans.inputs import ScanBars, monday, plain_reader, read_scan_bars

_SEVEN_DAYS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class SignalInputs:
    """What a span of trading is decided and booked from.

    Attributes:
        panel: 15m bars of the traded instruments, from before the span to its end.
        signals: Of the span, in the order of decisions, with what stored predictions say of them.
        strategies: Parameters of the traded set.
        minutes: Decide bars that could end a trade in two ways.
    """

    panel: Panel
    signals: pl.DataFrame
    strategies: Mapping[Strategy, Parameters]
    minutes: MinuteSource


def read_signals(
    store: Store,
    settings: Settings,
    start: datetime,
    end: datetime,
    *,
    instruments: Sequence[str] = (),
    strategies: Sequence[Strategy] = (),
    as_of: datetime | None = None,
    report: Steps = no_steps,
) -> SignalInputs:
    """Signals whose bars opened in ``[start, end)`` (UTC, opens of 15m bars), as scans find them.

    ``instruments``: default every active one of a tier that is traded. ``strategies``: default all. ``as_of``: bars and
    predictions as they were stored then. ``report`` takes the weeks that are done. Raises StoreError for an unknown
    instrument, and when the database fails.
    """
    tiers, sets = traded(store, instruments), traded_parameters(settings)
    benchmark = Universe.from_store(store, settings.feature_benchmark).benchmark
    bars = read_scan_bars(plain_reader(store, as_of), tiers, list(sets.values()), start, end, benchmark)
    chosen = {strategy: one for strategy, one in sets.items() if not strategies or strategy in strategies}
    found = signals_between(bars, chosen, start, end, report)
    predicted = with_predictions(store, found, start, end, as_of=as_of)
    return SignalInputs(bars.panel, predicted, sets, StoredMinutes(store, bars.panel, as_of=as_of))


def signals_between(
    bars: ScanBars,
    sets: Mapping[Strategy, Parameters],
    start: datetime,
    end: datetime,
    report: Steps = no_steps,
) -> pl.DataFrame:
    """Signals of ``[start, end)`` without predictions, each week computed from the bars that its scans rest on."""
    frames, moment = [], start
    while moment < end:
        until = min(monday(moment) + _SEVEN_DAYS, end)
        for strategy, parameters in sets.items():
            part = bars.before(parameters, moment, until)
            tiers, first = list(part.tiers.values()), part.place(moment)
            setups = takes(strategy, part.panel, part.context(strategy), parameters, tiers, first)
            frames.append(signals_of(strategy, part.panel, setups, part.tiers, parameters.hash, _market(part)))
        moment = until
        report(-((start - moment) // _SEVEN_DAYS), -((start - end) // _SEVEN_DAYS))
    return merged(frames)


def _market(bars: ScanBars) -> MarketStates:
    if bars.benchmark is None:
        return MarketStates.unknown(bars.panel.width)
    state, close = bars.market, bars.benchmark
    with np.errstate(all="ignore"):
        return MarketStates(state.stress, state.regime, close / lagged(close, WEEK) - 1)
