"""Massive's stocks over REST: earlier tickers, corporate actions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from crypto_pipeline.market.instruments import AssetClass
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.massive import parse
from crypto_pipeline.venues.massive.names import stock_ticker
from crypto_pipeline.venues.massive.rest import MassiveRest
from crypto_pipeline.venues.protocol import CorporateActionsAnswer, FetchPlan, Listing, VenueTraits


class MassiveStocks(MassiveRest):
    """Stocks of US exchanges; with extended hours, which its minutes include."""

    traits = VenueTraits(
        timeframes=frozenset({Timeframe.M1, Timeframe.D1, Timeframe.W1}),
        compared=frozenset(),
        states_empty_bars=False,
        contiguous_trade_ids=False,
        settle_delay=timedelta(seconds=20),
        asset_class=AssetClass.STOCK,
    )
    default_name = "massive"
    market = "stocks"

    def ticker(self, venue_symbol: str) -> str:
        """See MassiveRest.ticker."""
        return stock_ticker(venue_symbol)

    async def former_listings(self, names: Sequence[str]) -> list[Listing]:
        """See StatesFormerListings."""
        return await self.reference.former_listings([self.ticker(name) for name in names])

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """See MassiveRest.listed_since: under whichever ticker that was."""
        await self.reference.learn_tickers(self.ticker(venue_symbol))
        return await super().listed_since(venue_symbol)

    async def prepare(self, plans: list[FetchPlan]) -> None:
        """Learn the earlier tickers of instruments of which bars of days before today are asked for."""
        await super().prepare(plans)
        now = (await self.venue_time(time.monotonic())).astimezone(parse.NEW_YORK)
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        asked = {self.ticker(plan.venue_symbol) for plan in plans if any(start < today for start, _ in plan.spans)}
        for ticker in sorted(asked):
            await self.reference.learn_tickers(ticker)

    def tickers_of(
        self, venue_symbol: str, start: datetime, end: datetime, *, daily: bool = False
    ) -> Iterator[tuple[str, datetime, datetime]]:
        """See MassiveRest.tickers_of: a rename takes effect at midnight in New York."""
        return self.reference.tickers_of(self.ticker(venue_symbol), start, end, daily=daily)

    async def corporate_actions(self, instrument: str, venue_symbol: str) -> CorporateActionsAnswer:
        """Every split, dividend and rename that Massive states of the instrument."""
        seen_at = await self.venue_time(time.monotonic())
        return await self.reference.corporate_actions(instrument, self.ticker(venue_symbol), seen_at)
