"""Generated crypto pairs as Massive has them: several exchanges at once, at all hours, with taker sides.

A pair is a ``Stock`` of the tape with a ticker such as ``X:BTCUSD``; its days are those of New York.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.replay.massive.generated import NEW_YORK, GeneratedStocks
from crypto_pipeline.replay.massive.tape import Stock, seconds_of

#: Codes of conditions of crypto trades: the taker sold, or bought.
_SELL, _BUY = 1, 2
_MINUTE = 60_000


class GeneratedPairs(GeneratedStocks):
    """See StockTape. A minute in so many has no trade."""

    def trades(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape: all make prices, and each says who took."""
        rows = super().trades(ticker, first, last)
        side = pl.when(pl.col("ns") // 1_000_000 % 2 == 0).then(pl.lit([_BUY])).otherwise(pl.lit([_SELL]))
        return rows.filter(pl.col("conditions").list.first() == 0).with_columns(side.alias("conditions"))

    def seconds(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape: every trade makes a price."""
        return seconds_of(self.trades(ticker, first, last), no_price=())

    def _session(self, day: date) -> tuple[int, int] | None:
        begin, end = (int(datetime.combine(at, time(), NEW_YORK).timestamp()) for at in (day, day + timedelta(days=1)))
        return begin * 1000, end * 1000

    def _times(
        self, ticker: str, day: date, session: tuple[int, int], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        every = np.arange(*session, _MINUTE, dtype=np.int64)
        traded = rng.random(len(every)) < self._busy.get(ticker, 0.998)
        return every[traded], np.ones(int(traded.sum()), np.bool_)


def default_pairs(today: date, names: Sequence[str] = ("BTC", "ETH", "SOL")) -> GeneratedPairs:
    """A few pairs in dollars."""
    began = today - timedelta(days=400)
    return GeneratedPairs([Stock(f"X:{name}USD", began, name=name) for name in names])
