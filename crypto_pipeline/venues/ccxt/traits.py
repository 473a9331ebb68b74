"""Facts that hold for every exchange of ccxt."""

from __future__ import annotations

from datetime import timedelta

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.protocol import VenueTraits

#: ccxt says neither whether an exchange leaves out minutes without trades, nor whether its trade ids have gaps: only
#: trades prove that nothing was traded. Weeks begin on another day at each exchange, so they are rolled up.
CCXT_TRAITS = VenueTraits(
    timeframes=frozenset(each for each in Timeframe if each is not Timeframe.W1),
    states_empty_bars=False,
    contiguous_trade_ids=False,
    absence_is_silence=False,
    settle_delay=timedelta(seconds=10),
)
