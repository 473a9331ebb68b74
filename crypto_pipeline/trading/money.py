"""Sums of money and amounts of an asset: decimals of 18 places, added without any rounding.

A float of a bar becomes the decimal that prints the same, so a price of 0.00000123 stays what it is. Products are
rounded once, to 18 places, when they are made.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache

from crypto_pipeline.store.trading.ledger_columns import PLACES

QUANTUM = Decimal(1).scaleb(-PLACES)
ZERO = Decimal(0)
#: Wide enough for every product before it is rounded.
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)
_DOWN = Context(prec=60, rounding=ROUND_DOWN)
#: Sizes of trades are whole multiples of this.
_SIZE = Decimal("0.00000001")


def unrounded() -> AbstractContextManager[Context]:
    """Within this, sums and differences of stored sums are exact: Python's default keeps 28 digits only."""
    return localcontext(_WIDE)


def exact(value: float) -> Decimal:
    """The decimal that prints like ``value``. Raises decimal.InvalidOperation where it is no number."""
    return Decimal(repr(float(value)))


#: ``exact`` of values that come again and again, as parameters do.
constant = lru_cache(maxsize=1024)(exact)


def product(a: Decimal, b: Decimal) -> Decimal:
    """``a`` times ``b``, to 18 places."""
    return _WIDE.quantize(_WIDE.multiply(a, b), QUANTUM)


def times(a: Decimal, b: Decimal) -> Decimal:
    """``a`` times ``b``, not rounded (to 60 digits)."""
    return _WIDE.multiply(a, b)


def units_for(quote: Decimal, price: Decimal) -> Decimal:
    """How much ``quote`` buys at ``price``, rounded down to 18 places."""
    return _DOWN.quantize(_DOWN.divide(quote, price), QUANTUM)


def size_down(value: Decimal) -> Decimal:
    """A size of a trade, rounded down to 8 places."""
    return _DOWN.quantize(value, _SIZE)


def share(part: Decimal, whole: Decimal) -> float:
    """``part / whole`` as a float. Where ``whole`` is not above 0: 0 if ``part`` is 0, else infinite."""
    if whole > 0:
        return float(_WIDE.divide(part, whole))
    return 0.0 if not part else float("inf")
