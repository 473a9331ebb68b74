"""Which copy of a bar is believed (invariant I1): a total order that depends on the copies alone.

A complete copy before an incomplete one, then the source with the higher rank, then the newer revision. Copies that are
equal in all three are ordered by their content, so that the same copies give the same bar in whatever order they come.
The store applies this order to whole columns (``store.columns.best_copy``), the archive to frames
(``store.archive.merge``). The ranks are in the table ``market.bar_sources`` as well; a test compares the two.
"""

from __future__ import annotations

from crypto_pipeline.market.bars import OPTIONAL_COLUMNS, BarOrigin

#: The rank of each source: the copy with the higher rank is believed. A new source needs a rank here, a member of
#: ``BarOrigin`` and a row of ``market.bar_sources``.
SOURCE_RANKS: dict[BarOrigin, int] = {
    BarOrigin.RECONCILED: 50,
    BarOrigin.SUBSTITUTE_BINANCE: 49,
    BarOrigin.SUBSTITUTE_COINBASE: 48,
    BarOrigin.SUBSTITUTE_KRAKEN: 47,
    BarOrigin.SUBSTITUTE_REPLAY: 46,
    BarOrigin.SUBSTITUTE_REPLAY_STANDBY: 45,
    BarOrigin.LIVE_AGGREGATED: 40,
    BarOrigin.LIVE_GAP_FILLED: 30,
    BarOrigin.HISTORICAL_AGGREGATED: 20,
    BarOrigin.VENUE_HISTORICAL: 10,
    BarOrigin.FAILOVER_BINANCE: 5,
    BarOrigin.FAILOVER_COINBASE: 4,
    BarOrigin.FAILOVER_KRAKEN: 3,
    BarOrigin.FAILOVER_REPLAY: 2,
    BarOrigin.FAILOVER_REPLAY_STANDBY: 1,
}

_FIRST = ("trade_count", "volume", "quote_volume", "open", "high", "low", "close", "taker_buy_volume")
#: Columns after (complete, rank, revision) that break ties, the least important last; null is the lowest value.
TIE_BREAKERS = (*_FIRST, *(name for name in OPTIONAL_COLUMNS if name not in _FIRST))
