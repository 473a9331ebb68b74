"""Paths of signals, each by the parameters with which it was decided: what is changed later concerns later signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.intrabar import MinuteSource
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.store import Store
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import TradePaths, joined_paths, trade_paths


class DecidedPaths:
    """Paths by parameters of today (``parameters``, ``sets``) and of before, as the ledger has them declared."""

    def __init__(self, store: Store, parameters: TradingParameters, sets: Mapping[Strategy, Parameters]) -> None:
        self._store = store
        self._trading = {parameters.hash: parameters}
        self._strategies = {(strategy, one.hash): one for strategy, one in sets.items()}
        self._sets = sets

    def of(self, panel: Panel, signals: pl.DataFrame, minutes: MinuteSource) -> TradePaths:
        """The paths of ``signals``, which have ``parameters_hash`` and ``params_hash``. Raises StoreError."""
        keys = list(zip(*(signals[name].to_list() for name in _KEYS), strict=True))
        kinds = sorted(set(keys))
        parts = []
        for kind in kinds:
            rows = np.array([row for row, key in enumerate(keys) if key == kind], np.int64)
            strategy, params_hash, trading_hash = Strategy(kind[0]), kind[1], kind[2]
            sets = {strategy: self._strategy(strategy, params_hash)}
            parts.append((rows, trade_paths(panel, signals[rows], self._parameters(trading_hash), sets, minutes)))
        if not parts:
            return trade_paths(panel, signals, next(iter(self._trading.values())), self._sets, minutes)
        return joined_paths(parts)

    def _parameters(self, name: str) -> TradingParameters:
        if name not in self._trading:
            self._trading[name] = TradingParameters.model_validate(self._declared(name))
        return self._trading[name]

    def _strategy(self, strategy: Strategy, name: str) -> Parameters:
        if (strategy, name) not in self._strategies:
            made = strategy.definition.parameters.model_validate(self._declared(name))
            self._strategies[strategy, name] = made
        return self._strategies[strategy, name]

    def _declared(self, name: str) -> dict[str, Any]:
        return self._store.trading.ledger.parameters(name)


_KEYS = ("strategy", "params_hash", "parameters_hash")
