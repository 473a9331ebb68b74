"""Which ticker an instrument had at which time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from crypto_pipeline.market.corporate_actions.actions import ActionKind, CorporateAction


@dataclass(frozen=True, slots=True)
class TickerSpan:
    """The ticker of the days ``first`` to ``last``, both included; None: without bound."""

    symbol: str
    first: date | None
    last: date | None


def ticker_spans(current: str, renames: Iterable[CorporateAction]) -> list[TickerSpan]:
    """The tickers that what is ``current`` today had, oldest first, from renames of that instrument in any order.

    Raises ValueError where a rename does not lead to the ticker of the time after it.
    """
    spans: list[TickerSpan] = []
    symbol, last = current, None
    chosen = sorted((one for one in renames if one.kind is ActionKind.RENAME), key=lambda one: one.effective_date)
    for each in reversed(chosen):
        if each.new_symbol != symbol:
            raise ValueError(
                f"rename of {each.instrument} on {each.effective_date} is to {each.new_symbol!r}, but its ticker "
                f"after it was {symbol!r}"
            )
        spans.append(TickerSpan(symbol, each.effective_date, last))
        symbol, last = str(each.old_symbol), each.effective_date - timedelta(days=1)
    spans.append(TickerSpan(symbol, None, last))
    return spans[::-1]
