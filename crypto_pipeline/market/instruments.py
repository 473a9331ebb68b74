"""Instruments: what is collected, under one canonical name, whatever each venue calls it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator


class AssetClass(StrEnum):
    """What kind of thing is traded or published."""

    CRYPTO = "crypto"
    STOCK = "stock"
    MACRO = "macro"


class Tier(StrEnum):
    """Liquidity class; it decides fees, slippage, exits and cooldowns."""

    LARGE = "large"
    MID = "mid"
    MEME = "meme"
    STOCK = "stock"
    MACRO = "macro"


class Instrument(BaseModel):
    """One instrument. ``symbol`` is canonical, ``BASE-QUOTE`` for crypto, the ticker otherwise."""

    model_config = ConfigDict(frozen=True)

    symbol: str = Field(pattern=r"^[A-Z0-9._]+(-[A-Z0-9._]+)?$")
    asset_class: AssetClass = AssetClass.CRYPTO
    base: str
    quote: str
    tier: Tier = Tier.MID
    calendar: str = "24/7"
    venue_symbols: dict[str, str] = Field(default_factory=dict)
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    listed: datetime | None = None
    delisted: datetime | None = None
    #: Venues that stand in for the first one, in this order; empty: those of the settings.
    failover: tuple[str, ...] = ()
    #: Never part of "the first N" or "all" of a universe, only collected when asked for by name.
    by_name_only: bool = False

    @field_validator("listed", "delisted")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"naive time {value}: give a time zone")
        return value

    def venue_symbol(self, venue: str) -> str:
        """What ``venue`` calls it: as the universe says, else base and quote run together, else the ticker."""
        plain = f"{self.base}{self.quote}" if self.asset_class is AssetClass.CRYPTO else self.symbol
        return self.venue_symbols.get(venue, plain)

    @classmethod
    def crypto(cls, symbol: str, tier: Tier = Tier.MID) -> Instrument:
        """The crypto pair called ``BASE-QUOTE``. Raises ValueError for another shape."""
        base, dash, quote = symbol.partition("-")
        if not (base and dash and quote):
            raise ValueError(f"unknown symbol {symbol!r}: write BASE-QUOTE, for example BTC-USDT")
        return cls(symbol=symbol, base=base, quote=quote, tier=tier)
