"""All Coinbase trades of a span. The venue pages only to lower ids, so the end of the span is searched by id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from crypto_pipeline.venues.coinbase.parse import CoinbaseTrade
from crypto_pipeline.venues.protocol import MalformedAnswer, RejectedRow
from crypto_pipeline.venues.trade_rows import MOST_PAGES

LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Trades by rising id, the cursor of the next older page if the header states it, and the rejected rows."""

    rows: list[CoinbaseTrade]
    after: int | None = None
    refused: list[RejectedRow] = field(default_factory=list)

    @property
    def older(self) -> int:
        """The next older page has the ids below this one."""
        lowest = self.rows[0].trade_id
        return lowest if self.after is None else min(lowest, self.after)


def require_readable(page: Page) -> None:
    """Raise MalformedAnswer if no row of a page is readable."""
    if page.refused and not page.rows:
        raise MalformedAnswer(page.refused[0].reason)


#: Requests at most ``limit`` trades with ids below ``after`` (without it, the newest).
Pager = Callable[[int | None, int], Awaitable[Page]]


async def fetch_trades(
    page: Pager, begin: int, until: int, refused: list[RejectedRow] | None = None
) -> tuple[list[CoinbaseTrade], int | None, int | None]:
    """Trades of ``[begin, until)`` (Unix ms) by rising ids, the last id before them and the first id after.

    Invalid rows are added to ``refused``. Raises MalformedAnswer.
    """
    newest = await page(None, LIMIT)
    refused = refused if refused is not None else []
    refused += newest.refused
    if not newest.rows:
        return [], None, None
    found = newest
    if newest.rows[0].ms >= until:
        found = await _page_across(page, newest, until)
        refused += found.refused
    after = next((row.trade_id for row in found.rows if row.ms >= until), None)
    kept: list[CoinbaseTrade] = []
    current = found
    for _ in range(MOST_PAGES):
        rows = current.rows[::-1]
        kept.extend(row for row in rows if begin <= row.ms < until)
        before = next((row.trade_id for row in rows if row.ms < begin), None)
        if before is not None or current.older <= 1:
            return kept[::-1], before, after
        following = await page(current.older, LIMIT)
        refused += following.refused
        if not following.rows:
            return kept[::-1], None, after
        if following.rows[-1].trade_id >= current.older:
            raise MalformedAnswer(f"trades below id {current.older} begin with {following.rows[-1].trade_id}")
        current = following
    raise MalformedAnswer(f"a span has more than {MOST_PAGES * LIMIT:,} trades")


async def _page_across(page: Pager, newest: Page, until: int) -> Page:
    """A page that has the first trade at or after ``until`` and, unless that is the first ever, older trades."""
    # Ids rise with time: interpolate by time between an id that is late enough and one that is too early.
    late = newest.rows[0]
    early_id, early_ms = 0, None
    halve = False
    for _ in range(MOST_PAGES):
        span = late.trade_id - early_id
        if span <= LIMIT:
            # All trades between the two ids fit on one page.
            return await page(late.trade_id + 1, LIMIT)
        if early_ms is None:
            # Go back in growing steps until a page is early enough.
            aim = max(LIMIT, late.trade_id - max(4 * LIMIT, 4 * (newest.rows[-1].trade_id - late.trade_id)))
        elif halve or late.ms <= early_ms:
            aim = early_id + span // 2
        else:
            aim = early_id + int(span * (until - early_ms) / (late.ms - early_ms))
        halve = not halve
        middle = min(max(aim + LIMIT // 2, early_id + LIMIT // 2), late.trade_id - 1)
        got = await page(middle + 1, LIMIT)
        if not got.rows:
            early_id, early_ms = middle, early_ms if early_ms is not None else until - 1
            continue
        oldest, latest = got.rows[0], got.rows[-1]
        if oldest.ms < until <= latest.ms:
            return got
        if oldest.ms >= until:
            if oldest.trade_id >= late.trade_id:
                raise MalformedAnswer(f"trades below id {middle + 1} begin with {latest.trade_id}")
            late = oldest
            if got.older <= 1:
                return got
        else:
            early_id, early_ms = latest.trade_id, latest.ms
    raise MalformedAnswer(f"no search finds the trades before {until} ms: their times do not rise with their ids")
