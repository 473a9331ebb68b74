"""Which copy of a bar is believed (invariant I1): a total order that depends on the copies alone.

A complete copy before an incomplete one, then the source with the higher rank, then the newer revision. Copies that are
equal in all three are ordered by their content, so that the same copies give the same bar in whatever order they come.
The store applies this order to whole columns (``store.columns.best_copy``), the archive to frames
(``store.archive.merge``). The ranks are in the table ``market.bar_sources`` as well; a test compares the two.
"""

from __future__ import annotations

from crypto_pipeline.market.bars import OPTIONAL_COLUMNS, Source

#: The rank of each source: the copy with the higher rank is believed. A new source needs a rank here, a member of
#: ``Source`` and a row of ``market.bar_sources``.
SOURCE_RANKS: dict[Source, int] = {
    Source.RECONCILED: 50,
    Source.SUBSTITUTE_BINANCE: 49,
    Source.SUBSTITUTE_COINBASE: 48,
    Source.SUBSTITUTE_KRAKEN: 47,
    Source.SUBSTITUTE_REPLAY: 46,
    Source.SUBSTITUTE_REPLAY_STANDBY: 45,
    Source.LIVE_AGGREGATED: 40,
    Source.LIVE_GAP_FILLED: 30,
    Source.HISTORICAL_AGGREGATED: 20,
    Source.VENUE_HISTORICAL: 10,
    Source.FAILOVER_BINANCE: 5,
    Source.FAILOVER_COINBASE: 4,
    Source.FAILOVER_KRAKEN: 3,
    Source.FAILOVER_REPLAY: 2,
    Source.FAILOVER_REPLAY_STANDBY: 1,
}

_FIRST = ("trade_count", "volume", "quote_volume", "open", "high", "low", "close", "taker_buy_volume")
#: Columns after (complete, rank, revision) that break ties, the least important last; null is the lowest value.
TIE_BREAKERS = (*_FIRST, *(name for name in OPTIONAL_COLUMNS if name not in _FIRST))
