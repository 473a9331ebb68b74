"""Asks a venue a few things before anybody relies on it: whether it answers, its clock, symbols, bars, trade ids.

Ten to twenty requests, one after another. Nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl

from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    BudgetLimit,
    FetchPlan,
    Listing,
    ListingStatus,
    RequestBudget,
    Venue,
    VenueError,
)

Verdict = Literal["ok", "warning", "bad"]

#: Minutes of the sample of bars, and of the sample of trades.
SAMPLE, TRADES = 3_000, 10
#: A difference of clocks in seconds that is shown as a warning, and one that is bad.
_CLOCK_WARNING, _CLOCK_BAD = 2.0, 30.0
#: A pair is chosen with one of these as base and quote, the first first.
_BASES, _QUOTES = ("BTC", "XBT", "ETH", "SPY", "AAPL"), ("USDT", "USD", "USDC", "EUR")
_VALUES = ["open_time", "open", "high", "low", "close", "volume"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was asked. ``because``: what it means, and what helps where it is not ``ok``."""

    check: str
    found: str
    verdict: Verdict
    because: str


class CountingBudget:
    """A request budget that also counts the requests."""

    def __init__(self, budget: RequestBudget) -> None:
        self._budget = budget
        self.requests = 0

    async def acquire(self, weight: int) -> None:
        """See RequestBudget.acquire."""
        await self._budget.acquire(weight)
        self.requests += 1

    async def report(self, used: int) -> None:
        """See RequestBudget.report."""
        await self._budget.report(used)

    async def limit(self, limit: BudgetLimit) -> None:
        """See RequestBudget.limit."""
        await self._budget.limit(limit)

    async def pause(self, seconds: float) -> None:
        """See RequestBudget.pause."""
        await self._budget.pause(seconds)


class Probe:
    """Asks ``venue``, whose requests are counted by ``budget``.

    ``real_time``: its clock should be that of this machine.
    """

    def __init__(self, venue: Venue, budget: CountingBudget, *, real_time: bool = True) -> None:
        self._venue, self._budget, self._real_time = venue, budget, real_time
        self._now = datetime.now(UTC)
        self._sample = min(SAMPLE, venue.traits.kept_bars or SAMPLE)
        self.findings: list[Finding] = []

    async def run(self, symbol: str | None = None) -> list[Finding]:
        """Everything, of the instrument that the venue calls ``symbol``, by default of a pair that many venues have.

        A venue that does not answer is a finding. Raises ValueError where it lists no such symbol.
        """
        status = await self._venue.status()
        if status.reachable:
            self._add("reachable", "answers", "ok", f"It says of its state: {status.detail}.")
        else:
            self._add("reachable", "no answer", "bad", status.detail)
        if not status.reachable:
            return self.findings
        await self._try("clock", self._clock)
        listings: list[Listing] = []

        async def ask() -> None:
            listings.extend(await self._venue.listings())

        await self._try("symbols", ask)
        if not listings:
            return self.findings
        chosen = _choose(listings, symbol)
        self._symbols(listings, chosen)
        await self._try("bars", lambda: self._bars(chosen))
        await self._try("trade ids", lambda: self._trade_ids(chosen))
        return self.findings

    def _add(self, check: str, found: str, verdict: Verdict, because: str) -> None:
        self.findings.append(Finding(check, found, verdict, because))

    async def _try(self, check: str, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
        except VenueError as error:
            self._add(check, "no answer", "bad", str(error))

    async def _clock(self) -> None:
        begun, sent = time.time(), time.monotonic()
        self._now = await self._venue.server_time()
        middle = begun + (time.monotonic() - sent) / 2
        offset = self._now.timestamp() - middle
        if not self._real_time:
            self._add("clock", f"{self._now:%Y-%m-%d %H:%M:%S}Z", "ok", "A replayed market has a clock of its own.")
            return
        verdict: Verdict = "bad" if abs(offset) > _CLOCK_BAD else "warning" if abs(offset) > _CLOCK_WARNING else "ok"
        because = "Bars are final by the venue's clock, whatever this machine's says."
        if verdict != "ok":
            because += " Set the clock of this machine, for example with chrony, if it is the wrong one."
        self._add("clock", f"{offset:+.1f} s", verdict, because)

    def _symbols(self, listings: Sequence[Listing], chosen: Listing) -> None:
        trading = sum(one.status is ListingStatus.TRADING for one in listings)
        self._add(
            "symbols", f"{len(listings):,}, {trading:,} trading", "ok" if trading else "bad",
            f"Asked for: {chosen.venue_symbol} ({chosen.base}-{chosen.quote})." if trading else "Nothing is traded.",
        )  # fmt: skip

    # Bars

    async def _bars(self, chosen: Listing) -> None:
        traits = self._venue.traits
        await self._venue.server_time()
        before = self._budget.requests
        end = Timeframe.M1.floor(self._now - traits.settle_delay)
        answers = await self._read(chosen, end - self._sample * Timeframe.M1.delta, end)
        requests = max(1, self._budget.requests - before - 1)  # one of them asks for the time
        bars = pl.concat([answer.bars for answer in answers])
        refused = sum(len(answer.refused) for answer in answers)
        least = -(-self._sample // requests)
        because = f"{self._sample:,} minutes took {requests} request{'s' if requests > 1 else ''}."
        self._add("page", f"{least:,} minutes or more", "ok", because)
        self._minutes(bars, refused)
        newest = bars["open_time"].max()
        await self._newest(chosen, newest if isinstance(newest, datetime) else None, end)
        await self._final(chosen, bars, end)

    async def _read(self, chosen: Listing, start: datetime, end: datetime) -> list[BarsAnswer]:
        plan = FetchPlan(chosen.venue_symbol, chosen.venue_symbol, Timeframe.M1, [(start, end)])
        async with aclosing(self._venue.bars(plan, archive=False)) as found:  # type: ignore[type-var]
            return [answer async for answer in found]

    def _minutes(self, bars: pl.DataFrame, refused: int) -> None:
        absent = self._sample - bars.height
        traits = self._venue.traits
        said = f"{bars.height:,} of {self._sample:,}"
        if refused:
            self._add(
                "rows", f"{refused} impossible", "bad", "These rows are refused, and asked for again with pauses."
            )
        if absent and traits.states_empty_bars:
            because = (
                "It should have a bar also of minutes without trades: see `crypto-pipeline gaps` after a backfill."
            )
            self._add("minutes", said, "warning", because)
        elif absent and not traits.absence_is_silence:
            because = "Only its trades can show whether the others had none; until then they are `unproven` in `gaps`."
            self._add("minutes", said, "ok" if bars.height else "bad", because)
        else:
            because = "It leaves out minutes without trades." if absent else "Every minute has a bar."
            self._add("minutes", said, "ok" if bars.height else "bad", because)

    async def _newest(self, chosen: Listing, newest: datetime | None, end: datetime) -> None:
        stated = await self._venue.last_bar(chosen.venue_symbol)
        if newest is None:
            found = "none" if stated is None else f"{stated:%Y-%m-%d %H:%M}Z"
            self._add("newest bar", found, "bad", f"No final bar in the last {self._sample:,} minutes.")
            return
        age = (end - newest) / Timeframe.M1.delta
        verdict: Verdict = "ok" if age <= 5 or self._venue.traits.absence_is_silence else "warning"
        because = f"The newest minute that is final by its clock begins {(age - 1) * 60:.0f} seconds later."
        self._add("newest bar", f"{newest:%Y-%m-%d %H:%M}Z", verdict, because)

    async def _final(self, chosen: Listing, bars: pl.DataFrame, end: datetime) -> None:
        """Whether the newest bars are the same when they are asked for again."""
        since = end - TRADES * Timeframe.M1.delta
        again = pl.concat([answer.bars for answer in await self._read(chosen, since, end)]).select(_VALUES)
        before = bars.filter(pl.col("open_time") >= since).select(_VALUES)
        changed = before.join(again, on="open_time", suffix="_again").filter(
            pl.any_horizontal(pl.col(name) != pl.col(f"{name}_again") for name in _VALUES[1:])
        )
        appeared = again.join(before, on="open_time", how="anti").height
        if changed.is_empty() and not appeared:
            self._add("final", f"{before.height} bars", "ok", "The newest bars are the same when asked for again.")
            return
        said = f"{changed.height} changed, {appeared} appeared"
        because = "Bars changed after they should have been final: a longer CRYPTO_PIPELINE_SETTLE_DELAY helps."
        self._add("final", said, "bad", because)

    # Trades

    async def _trade_ids(self, chosen: Listing) -> None:
        traits = self._venue.traits
        end = Timeframe.M1.floor(self._now - timedelta(minutes=2))
        try:
            answer = await self._venue.trades(
                chosen.venue_symbol, chosen.venue_symbol, end - TRADES * Timeframe.M1.delta, end
            )
        except VenueError as error:
            if traits.contiguous_trade_ids:
                raise
            because = f"{error}. Minutes without a bar stay `unproven` in `gaps`."
            self._add("trade ids", "no proof", "warning", because)
            return
        ids = answer.trades["trade_id"]
        jumps = int((ids.diff().drop_nulls() != 1).sum())
        if not traits.contiguous_trade_ids:
            because = "Its ids prove nothing; its trades were read with one on either side."
            if traits.absence_is_silence:
                because = "Its ids prove nothing: a minute counts as without trades where it leaves out the bar twice."
            self._add("trade ids", f"{ids.len():,} trades", "ok", because)
        elif jumps:
            because = "The ids of trades should rise by one: minutes with jumps count as lost."
            self._add("trade ids", f"{jumps} jumps in {ids.len():,}", "bad", because)
        else:
            because = "The ids rise by one, so that they prove which minutes had no trade."
            self._add("trade ids", f"{ids.len():,} contiguous", "ok", because)


def _choose(listings: Sequence[Listing], symbol: str | None) -> Listing:
    """The listing called ``symbol``, by the venue or as BASE-QUOTE; by default one that many venues have."""
    if symbol is not None:
        named = {name: one for one in listings for name in (f"{one.base}-{one.quote}", one.venue_symbol)}
        if symbol in named:
            return named[symbol]
        hint = did_you_mean(near_names(symbol, named)) or "write BASE-QUOTE, for example BTC-USDT"
        raise ValueError(f"it lists no {symbol!r}: {hint}")
    trading = [one for one in listings if one.status is ListingStatus.TRADING] or list(listings)

    def rank(one: Listing) -> tuple[int, int]:
        places = (_BASES, one.base), (_QUOTES, one.quote)
        base, quote = (known.index(name) if name in known else len(known) for known, name in places)
        return base, quote

    return min(trading, key=rank)
