"""Massive's crypto pairs over REST."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.massive.names import crypto_pair
from crypto_pipeline.venues.massive.rest import MassiveRest
from crypto_pipeline.venues.protocol import VenueTraits


class MassiveCrypto(MassiveRest):
    """Crypto pairs, over several exchanges at once: comparable with no single exchange's bars."""

    traits = VenueTraits(
        timeframes=frozenset({Timeframe.M1}),
        states_empty_bars=False,
        contiguous_trade_ids=False,
        settle_delay=timedelta(seconds=20),
    )
    default_name = "massive_crypto"
    market = "crypto"

    def ticker(self, venue_symbol: str) -> str:
        """See MassiveRest.ticker."""
        return venue_symbol

    def trade_tickers_of(
        self, venue_symbol: str, start: datetime, end: datetime
    ) -> Iterator[tuple[str, datetime, datetime]]:
        """Addresses of trades have a dash: ``X:BTC-USD``."""
        base, quoted = crypto_pair(venue_symbol)
        yield f"X:{base}-{quoted}", start, end
