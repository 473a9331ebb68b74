"""Filling gaps with bars made from stored trades, before the venue is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.healing.reports import Counts
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import merge_spans, to_spans
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.aggregation import bars_from_trades
from crypto_pipeline.store import Store
from crypto_pipeline.store.trades.spans import StoredTrades

#: Trades of at most so much time are in memory at once: a liquid instrument has a million of them a day.
_PIECE = timedelta(hours=3)


def fill_from_trades(store: Store, venue: str, holes: pl.DataFrame, counts: Counts) -> pl.DataFrame:
    """Write the 1m bars of ``holes`` (``instrument``, ``start``, ``end``) that stored trades of ``venue`` prove whole.

    Only for a venue whose trade ids are consecutive: a minute is proven when the ids from the trade before it to the
    trade after it are consecutive, and so are the individual trades that they sum. Minutes without trades are left to
    the venue. Returns the spans that were filled. Raises StoreError.
    """
    made = [span.empty_spans()]
    for found in store.trades_around(venue, list(_pieces(holes))):
        bars = _whole(found)
        if bars.is_empty():
            continue
        result = store.bars.write(bars, Timeframe.M1)
        counts.add_write(result)
        counts.rebuilt_from_trades += result.inserted + result.superseded
        made.append(to_spans(bars.select("instrument", "open_time"), Timeframe.M1))
    return merge_spans(pl.concat(made))


def _pieces(holes: pl.DataFrame) -> Iterator[tuple[str, datetime, datetime]]:
    for name, start, end in holes.select(*span.SPAN_SCHEMA).iter_rows():
        while start < end:
            yield name, start, min(end, start + _PIECE)
            start += _PIECE


def _whole(found: StoredTrades) -> pl.DataFrame:
    """Bars of which no trade can be missing. A minute at an edge without a neighbouring trade is left out."""
    trades = found.trades
    first, last, stated = trades.select(
        pl.col("trade_id").min(), pl.col("trade_id").max().alias("last"), pl.col("time").max()
    ).row(0)
    return bars_from_trades(
        trades,
        Timeframe.M1,
        source=BarOrigin.LIVE_GAP_FILLED,
        revision=stated,
        id_before=first - 2 if found.id_before is None else found.id_before,
        id_after=last + 2 if found.id_after is None else found.id_after,
        single_before=found.single_before,
        single_after=found.single_after,
    ).filter("complete")
