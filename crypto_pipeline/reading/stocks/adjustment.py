"""Bars as they are stored, adjusted for the corporate actions that were known and in effect at a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from crypto_pipeline.market.bars import PRICE_COLUMNS
from crypto_pipeline.market.corporate_actions.adjustment import adjust_bars, mixed_weeks
from crypto_pipeline.market.corporate_actions.factors import (
    Adjust,
    FactorTable,
    factor_table,
    reference_needs,
)
from crypto_pipeline.market.corporate_actions.steps import OLDEST_CLOSE, Runs
from crypto_pipeline.market.rollup import roll_up
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store

_KEY = ["instrument", "open_time"]
_CLOSES = (*_KEY, "close")
#: What of a weekly bar is made again of adjusted daily bars.
_ADJUSTED = (*PRICE_COLUMNS, "volume", "taker_buy_volume", "vwap")
_WEEK, _DAY = Timeframe.W1.delta, Timeframe.D1.milliseconds


class AdjustmentWarning(UserWarning):
    """A corporate action could not be applied to bars that were to be adjusted for it."""


@dataclass(frozen=True, slots=True)
class Adjuster:
    """Adjusts bars of some instruments for actions known at ``as_of`` (None: now) and in effect then.

    ``complete`` is as in ``BarReader.read``, for the bars that have to be read beside those that are given.
    """

    store: Store
    adjust: Adjust
    table: FactorTable
    as_of: datetime | None
    complete: bool

    @classmethod
    def from_frame(
        cls,
        store: Store,
        adjust: Adjust,
        bars: pl.DataFrame,
        timeframe: Timeframe,
        *,
        as_of: datetime | None,
        complete: bool,
        now: Callable[[], datetime],
    ) -> Adjuster:
        """An adjuster for ``bars``, and any of the same instruments that are not older than the oldest of them.

        ``bars`` need ``instrument``, ``open_time`` and ``close``; daily ones spare a read of the closes.
        """
        first = bars["open_time"].min()
        if not isinstance(first, datetime):
            return cls(store, adjust, FactorTable({}), as_of, complete)
        names = list(dict.fromkeys(Runs.of(bars["instrument"]).names))
        actions = store.corporate_actions.as_of(names, as_of or now())
        actions = actions.filter(actions["effective_at"] > first)
        closes, quotes = None, {}
        if adjust == "all" and not (needs := reference_needs(actions)).is_empty():
            closes = _closes(store, needs, bars if timeframe is Timeframe.D1 else None, as_of)
            quotes = store.symbols.quotes(names)
        return cls(store, adjust, factor_table(actions, adjust, closes, quotes), as_of, complete)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which actions could not be applied, and why."""
        return self.table.notes

    def adjusted(self, bars: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
        """``bars`` (``instrument``, ``open_time`` and any others of the read schema, in order) on the later basis.

        A weekly bar in whose week an action takes effect is made again of the daily bars, where there are any.
        """
        if not self.table.of_instrument:
            return bars
        result = adjust_bars(bars, timeframe, self.table)
        if timeframe is not Timeframe.W1:
            return result
        weeks = mixed_weeks(bars, self.table)
        return result if weeks.is_empty() else self._with_weeks(result, weeks)

    def _with_weeks(self, bars: pl.DataFrame, weeks: pl.DataFrame) -> pl.DataFrame:
        begin, end = weeks["open_time"].min(), weeks["open_time"].max()
        assert isinstance(begin, datetime)
        assert isinstance(end, datetime)
        days = self.store.reader.read(
            weeks["instrument"].unique().to_list(), Timeframe.D1, begin, end + _WEEK,
            as_of=self.as_of, complete=self.complete,
        ).drop("recorded_at", "vwap")  # fmt: skip
        monday = Timeframe.W1.floor_expr().alias("week")
        wanted = weeks.rename({"open_time": "week"})
        days = days.with_columns(monday).join(wanted, on=["instrument", "week"], how="semi", maintain_order="left")
        if days.is_empty():
            return bars
        made = roll_up(adjust_bars(days.drop("week"), Timeframe.D1, self.table), Timeframe.W1)
        made = made.with_columns((pl.col("quote_volume") / pl.col("volume")).alias("vwap"))
        columns = [name for name in _ADJUSTED if name in bars.columns]
        return bars.update(made.select(*_KEY, *columns), on=_KEY, how="left")


def _closes(store: Store, needs: pl.DataFrame, days: pl.DataFrame | None, as_of: datetime | None) -> pl.DataFrame:
    """Daily bars as stored that reach from well before the first of the dividends to the last, in order.

    ``days`` are read already: what they have is not read again.
    """
    have = None
    if days is not None:
        have, needs = days.select(_CLOSES), needs.filter(~_has_close(needs, days))
    if needs.is_empty():
        assert have is not None
        return have
    first, last = needs["effective_date"].min(), needs["effective_date"].max()
    begin, end = midnight(first) - OLDEST_CLOSE, midnight(last)  # type: ignore[arg-type]  # dates
    read = store.reader.read(
        needs["instrument"].unique().to_list(), Timeframe.D1, begin, end, as_of=as_of, complete=True, columns=_CLOSES
    )
    if have is None:
        return read
    return pl.concat([have, read]).unique(_KEY).sort(_KEY)


def _has_close(needs: pl.DataFrame, days: pl.DataFrame) -> pl.Series:
    """Of each dividend whether ``days`` begin before it and do not end long before it."""
    runs = Runs.of(days["instrument"])
    run_of = {name: number for number, name in enumerate(runs.names)}
    run = np.array([run_of.get(name, -1) for name in needs["instrument"].to_list()], dtype=np.int64)
    opens = days["open_time"].to_physical().to_numpy()
    first, last = opens[runs.begins][run], opens[runs.ends - 1][run]
    ex_date = needs["effective_date"].to_physical().to_numpy().astype(np.int64) * _DAY
    return pl.Series((run >= 0) & (ex_date > first) & (ex_date <= last + _DAY))
