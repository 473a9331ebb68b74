"""Pages of bars of an exchange whose manners are not known: each page repeats the last row of the one before.

An exchange may count ``since`` in or leave it out, cut pages by rows or by time, have smaller pages than it says, or
give its newest rows whatever is asked for. The repeated row shows that no row was lost between two pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from crypto_pipeline.venues.protocol import MalformedAnswer

Row = Sequence[Any]
#: Asks for rows from ``since`` (Unix ms) on, at most ``limit``, and with ``until`` (Unix ms) not past it. A row begins
#: with its open time, Unix ms.
Ask = Callable[[int, int, int | None], Awaitable[list[Row]]]

#: Rows that a page may repeat of the one before, where the exchange leaves the first ones out.
_MOST_BACK = 3
#: Rows of a page that are asked for beside those of a span which one page holds.
AROUND = _MOST_BACK + 1
#: Rows of a page where ccxt does not say how many the exchange gives, and most that are asked for.
_PAGE, MOST_ROWS = 300, 1000


def rows_of_page(features: Any) -> int:
    """Rows of a page of bars, as ccxt states them among the features of spot markets."""
    spot = (features or {}).get("spot") or {}
    stated = (spot.get("fetchOHLCV") or {}).get("limit")
    return min(int(stated), MOST_ROWS) if stated else _PAGE


async def read_span(ask: Ask, begin: int, end: int, width: int, most: int) -> list[Row]:
    """Rows with open times in ``[begin, end)`` (Unix ms), as the exchange stated them; rows of seams come twice.

    ``width``: of a bar, ms. ``most``: rows of a page. A time without a row has none on any page that should have it, or
    lies before all that the exchange gives. Raises MalformedAnswer where a page lacks the last row of the one before.
    """
    rows: list[Row] = []
    cursor, back, held = begin, 1, None
    while cursor < end:
        # of the first page no row is known: it begins as early as any page has to
        since = cursor - (_MOST_BACK if cursor == begin else back) * width
        limit = min(most, (end - since) // width + 1)
        page = await _page(ask, since, limit, width, cursor)
        times = [row[0] for row in page]
        if held is not None and since <= held and held not in times:
            if back == _MOST_BACK:
                raise MalformedAnswer(f"the page from {since} on lacks the row of {held}, which the page before has")
            back += 1
            continue
        rows += [row for row in page if begin <= row[0] < end]
        newest = max((time for time in times if time < end), default=None)
        if max(times, default=-1) >= end:
            break
        if newest is not None and newest >= cursor:
            cursor, held = newest + width, newest
        else:  # nothing in the time that the page should have covered
            cursor = since + limit * width
    return rows


async def _page(ask: Ask, since: int, limit: int, width: int, cursor: int) -> list[Row]:
    """One page. Where it is full and begins after ``cursor``, the exchange may have given the newest rows: the end is
    asked for as well.
    """
    page = await ask(since, limit, None)
    if len(page) >= limit and min(row[0] for row in page) > cursor:
        bounded = await ask(since, limit, since + limit * width)
        if bounded and min(row[0] for row in bounded) < min(row[0] for row in page):
            return bounded
    return page
