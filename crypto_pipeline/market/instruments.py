"""Instruments: what is collected, under one canonical name for all venues."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

#: Characters of a name besides letters and digits of any script.
_MARKS = "._$"
_LONGEST = 64
#: Between an instrument and the venue of this series of it, where another venue has the plain name.
_AT = "@"
#: A ticker with the class of the share.
_SHARE_CLASS = re.compile(r"^([A-Z]{1,5})[./]([A-Z])$")
_TO_CAPITALS = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


class AssetClass(StrEnum):
    """The kind of asset, or of published value."""

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


class Refresh(StrEnum):
    """How soon readers of an instrument want news; it decides how long an answer may be cached."""

    HOT = "hot"
    NORMAL = "normal"
    COLD = "cold"


#: Base assets and tickers of each class; all others are cold.
_REFRESH = {
    **dict.fromkeys(("BTC", "ETH", "NVDA", "AAPL"), Refresh.HOT),
    **dict.fromkeys(("MSFT", "GOOGL", "AMZN", "META", "TSLA", "BNB", "SOL", "XRP"), Refresh.NORMAL),
}


def refresh_class(symbol: str) -> Refresh:
    """The class of the instrument called ``symbol``, by its base asset or ticker."""
    return _REFRESH.get(plain_name(symbol).partition("-")[0], Refresh.COLD)


def plain_name(symbol: str) -> str:
    """The name without its venue: ``BTC-USDT`` of ``BTC-USDT@kraken``."""
    return symbol.partition(_AT)[0]


def name_at(symbol: str, venue: str) -> str:
    """The name of the series of ``symbol`` at ``venue`` where another venue has the plain name."""
    return f"{plain_name(symbol)}{_AT}{venue}"


class Instrument(BaseModel):
    """One instrument at one venue. ``symbol`` is canonical: ``BASE-QUOTE`` for crypto, the ticker otherwise.

    Where several venues have the same instrument, the first one's series has this plain name, and the series of
    another is called ``BASE-QUOTE@venue``.
    """

    model_config = ConfigDict(frozen=True)

    symbol: str
    asset_class: AssetClass = AssetClass.CRYPTO
    base: str
    quote: str
    #: The venue whose series this is; None: the default one of the settings.
    venue: str | None = None
    tier: Tier = Tier.MID
    calendar: str = "24/7"
    venue_symbols: dict[str, str] = Field(default_factory=dict)
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    listed: datetime | None = None
    delisted: datetime | None = None
    #: Venues that stand in for the first one, in this order; empty: the venues of the settings.
    failover: tuple[str, ...] = ()
    #: Never part of "the first N" or "all" of a universe, only collected when asked for by name.
    by_name_only: bool = False

    @field_validator("symbol")
    @classmethod
    def _a_name(cls, value: str) -> str:
        name = unicodedata.normalize("NFC", value)
        if len(name) > _LONGEST:
            raise ValueError(f"symbol of {len(name)} characters, {name[:20]!r}…: {_LONGEST} are the most")
        name, at, venue = name.partition(_AT)
        if at and not venue.replace("_", "").isalnum():
            raise ValueError(f"symbol {value!r}: write the name of a venue after {_AT}, for example BTC-USDT@kraken")
        if name.count("-") > 1 or not all(name.split("-")):
            raise ValueError(f"symbol {value!r}: write BASE-QUOTE, for example BTC-USDT, or a ticker")
        if wrong := [each for each in name.replace("-", "") if not (each.isalnum() or each in _MARKS)]:
            raise ValueError(f"symbol {value!r}: {wrong[0]!r} cannot stand in a name; use letters, digits, {_MARKS}")
        return f"{name}{at}{venue}"

    @field_validator("listed", "delisted")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"naive time {value}: give a time zone")
        return value

    def venue_symbol(self, venue: str) -> str:
        """The venue's name of it: as the universe states it, else base and quote joined, else the ticker."""
        plain = f"{self.base}{self.quote}" if self.asset_class is AssetClass.CRYPTO else plain_name(self.symbol)
        return self.venue_symbols.get(venue, plain)

    @classmethod
    def crypto(cls, symbol: str, tier: Tier = Tier.MID) -> Instrument:
        """The crypto pair called ``BASE-QUOTE`` or ``BASE-QUOTE@venue``. Raises ValueError for another shape."""
        pair, _, venue = unicodedata.normalize("NFC", symbol).partition(_AT)
        base, dash, quote = pair.partition("-")
        if not (base and dash and quote):
            raise ValueError(f"unknown symbol {symbol!r}: write BASE-QUOTE, for example BTC-USDT")
        try:
            return cls(symbol=symbol, base=base, quote=quote, tier=tier, venue=venue or None)
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["ctx"]["error"])) from None

    @classmethod
    def stock(cls, symbol: str, calendar: str = "XNYS") -> Instrument:
        """The stock with this ticker, in dollars, in the sessions of ``calendar``. ValueError for another shape."""
        name = unicodedata.normalize("NFC", symbol)
        try:
            return cls(
                symbol=name, base=name, quote="USD", tier=Tier.STOCK, asset_class=AssetClass.STOCK, calendar=calendar
            )
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["ctx"]["error"])) from None


def one_spelling(name: str) -> str:
    """``name`` in capitals, a class of shares after a dash: ``BRK-B`` of ``brk.b``."""
    return _SHARE_CLASS.sub(r"\1-\2", name.translate(_TO_CAPITALS))


def find_symbol(text: str, known: Iterable[str]) -> str | None:
    """The one name of ``known`` that equals ``text``, exactly or except for the case of A to Z.

    ``BRK.B``, ``BRK/B`` and ``BRK-B`` are one name: the class of a share has several spellings. None when there is no
    such name, or several (``AAPLx-USD`` and ``AAPLX-USD``) and none of them equals it exactly.
    The case of other letters is never changed: an upper-case ``ß`` would be another name.
    """
    name = unicodedata.normalize("NFC", text.strip())
    key = one_spelling(name)
    alike = []
    for each in known:
        if each == name:
            return each
        if one_spelling(each) == key:
            alike.append(each)
    return alike[0] if len(alike) == 1 else None
