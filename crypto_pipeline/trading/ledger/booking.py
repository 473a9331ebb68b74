"""Booking: a fill as sums of money and as postings that sum to zero in every currency.

Accounts of postings: ``cash`` and ``position`` (what is held of the base asset) are the account's own; ``exchange`` is
the market, at the price before slippage, in both currencies; ``slippage`` and ``fees`` are what trading costs;
``capital`` is where the first cash comes from.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from crypto_pipeline.labels.costs import OrderUse, fill_price
from crypto_pipeline.trading.money import exact, product, units_for

CASH, POSITION, EXCHANGE, SLIPPAGE, FEES, CAPITAL = "cash", "position", "exchange", "slippage", "fees", "capital"


class BookedFill(NamedTuple):
    """A fill as it is booked: ``units`` bought (below 0: sold), at ``price`` after slippage; ``quote``: units x price;
    ``cash``: what the account's cash changes by. ``raw``: the price before slippage.
    """

    use: OrderUse
    bar_ts: int
    raw: Decimal
    price: Decimal
    units: Decimal
    quote: Decimal
    fee: Decimal
    slippage: Decimal
    cash: Decimal

    def reversed(self) -> BookedFill:
        """What takes it back."""
        return self._replace(
            units=-self.units, quote=-self.quote, fee=-self.fee, slippage=-self.slippage, cash=-self.cash
        )


def bought(use: OrderUse, bar_ts: int, raw: float, order_sum: Decimal, slippage: Decimal, fee: Decimal) -> BookedFill:
    """An order that spends ``order_sum`` (or, by less than a unit's last place, less) at ``raw`` before slippage."""
    before = exact(raw)
    price = fill_price(use, before, slippage)
    units = units_for(order_sum, price)
    quote = product(units, price)
    paid = product(quote, fee)
    return BookedFill(use, bar_ts, before, price, units, quote, paid, quote - product(units, before), -(quote + paid))


def sold(use: OrderUse, bar_ts: int, raw: float, units: Decimal, slippage: Decimal, fee: Decimal) -> BookedFill:
    """All of ``units`` sold at ``raw`` before slippage."""
    before = exact(raw)
    price = fill_price(use, before, slippage)
    quote = product(units, price)
    paid = product(quote, fee)
    return BookedFill(use, bar_ts, before, price, -units, -quote, paid, product(units, before) - quote, quote - paid)


def postings(fill: BookedFill, base: str, currency: str) -> list[tuple[str, str, Decimal]]:
    """Account, currency and amount of each posting of a fill; per currency they sum to zero."""
    rows = [
        (CASH, currency, fill.cash),
        (POSITION, base, fill.units),
        (EXCHANGE, base, -fill.units),
        (EXCHANGE, currency, fill.quote - fill.slippage),
        (FEES, currency, fill.fee),
    ]
    if fill.slippage:
        rows.append((SLIPPAGE, currency, fill.slippage))
    return rows


def opening(capital: Decimal, currency: str) -> list[tuple[str, str, Decimal]]:
    """Postings of the first event of an account."""
    return [(CASH, currency, capital), (CAPITAL, currency, -capital)]
