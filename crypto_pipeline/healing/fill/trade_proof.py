"""Trades as proof of an absent bar: consecutive ids prove that nothing traded, trades rebuild the bar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import polars as pl

from crypto_pipeline.healing.reports import Progress
from crypto_pipeline.market.bars import BarOrigin, empty_bars
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import intersect, to_spans
from crypto_pipeline.market.gaps.evidence import TradeProof
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.aggregation import bars_from_trades
from crypto_pipeline.venues import RejectedRow, TradesAnswer, Venue, VenueError, VenueTraits

log = logging.getLogger(__name__)
AskTrades: TypeAlias = Callable[[str, str, datetime, datetime], Awaitable[TradesAnswer]]

# So many holes of one instrument and day are requested one by one; for more holes the day's trades are read once.
_SINGLY = 5
# The trades of a longer hole are read only when its edges show that they are few: a liquid pair has a million a day.
_LONGEST = timedelta(hours=12)
# At most so many trades are read of a long hole (some pages); for more the bars are requested again.
_MOST = 20_000
# Span that is requested at either edge of a long hole.
_EDGE = timedelta(minutes=1)


@dataclass(slots=True)
class Proofs:
    """Trades around holes, by instrument, and the bars rebuilt from them."""

    answers: dict[str, list[TradesAnswer]] = field(default_factory=dict)
    rebuilt: pl.DataFrame = field(default_factory=empty_bars)
    #: refused trades, by instrument
    refused: dict[str, list[RejectedRow]] = field(default_factory=dict)

    def of(self, name: str, start: datetime, end: datetime) -> TradeProof | None:
        """The trades that were requested for a hole, or None."""
        for answer in self.answers.get(name, []):
            if answer.start <= start and end <= answer.end:
                return answer
        return None

    def rebuilt_spans(self, timeframe: Timeframe) -> pl.DataFrame:
        """Spans of the rebuilt bars."""
        return to_spans(self.rebuilt.select("instrument", "open_time"), timeframe)


async def gather_proofs(
    venue: Venue, known: dict[str, dict[str, Any]], holes: pl.DataFrame, progress: Progress
) -> Proofs:
    """Ask the venue for the trades around every hole and rebuild the bars that they prove.

    A failure of the venue is logged; its holes stay without proof.
    """
    proofs = Proofs()
    asks = [
        ask
        for (name,), rows in holes.partition_by("instrument", as_dict=True).items()
        for ask in _asks(str(name), rows)
    ]
    done = 0

    async def trades(name: str, symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        answer = await venue.trades(name, symbol, start, end)
        if answer.refused:
            proofs.refused.setdefault(name, []).extend(answer.refused)
        return answer

    async def ask(name: str, start: datetime, end: datetime, one_hole: bool) -> None:
        nonlocal done
        symbol = known[name]["venue_symbol"]
        try:
            # Between many short holes of a day there are bars, so its edges do not tell how many trades there are.
            if one_hole:
                answer = await _trades(trades, venue.traits, name, symbol, start, end)
            else:
                answer = await trades(name, symbol, start, end)
            if answer is not None:
                proofs.answers.setdefault(name, []).append(answer)
        except VenueError as error:  # without proof the hole stays lost and is requested again
            log.warning("%s: no trades of %s … %s: %s", name, start, end, error)
        done += 1
        progress("ask for trades", done, len(asks))

    for batch in range(0, len(asks), 64):
        await asyncio.gather(*(ask(*one) for one in asks[batch : batch + 64]))
    rebuilt = [_rebuild(answer, holes) for answers in proofs.answers.values() for answer in answers]
    proofs.rebuilt = pl.concat([empty_bars(), *rebuilt])
    return proofs


async def _trades(
    trades: AskTrades, traits: VenueTraits, name: str, symbol: str, start: datetime, end: datetime
) -> TradesAnswer | None:
    """The trades of a hole; of a long one those at its edges, and all between them when these show that they are few.

    Where the last trade before the hole is followed by the first one after it, the edges alone are the proof, over a
    halt of days as over a minute. None: there are too many trades.
    """
    if end - start <= _LONGEST:
        return await trades(name, symbol, start, end)
    if not traits.contiguous_trade_ids:
        return None
    first = await trades(name, symbol, start, start + _EDGE)
    last = await trades(name, symbol, end - _EDGE, end)
    before, after = first.id_before, last.id_after
    if before is None or after is None or after - before - 1 > _MOST:
        return None
    # also where the edges show no trade: by the ids there are trades between them
    if after - before > 1:
        return await trades(name, symbol, start, end)
    none, singles = first.trades.clear(), (first.single_before, last.single_after)
    return TradesAnswer(start, end, none, before, after, *singles, instrument=name)


def _asks(name: str, holes: pl.DataFrame) -> list[tuple[str, datetime, datetime, bool]]:
    """Spans to ask trades for: each hole (True), or the whole day's hull (False) where there are many short ones."""
    length = pl.col("end") - pl.col("start")
    short, long = holes.filter(length <= _LONGEST), holes.filter(length > _LONGEST)
    asks = [(name, start, end, True) for start, end in long.select("start", "end").iter_rows()]
    for rows in short.with_columns(pl.col("start").dt.date().alias("day")).partition_by("day"):
        if rows.height <= _SINGLY:
            asks.extend((name, start, end, True) for start, end in rows.select("start", "end").iter_rows())
        else:
            start, end = rows.select(pl.col("start").min(), pl.col("end").max()).row(0)
            asks.append((name, start, end, False))
    return asks


def _rebuild(answer: TradesAnswer, holes: pl.DataFrame) -> pl.DataFrame:
    """Bars of the missing minutes that the trades prove."""
    if answer.trades.is_empty():
        return empty_bars()
    stated = answer.trades.select(pl.col("time").max()).item()
    bars = bars_from_trades(
        answer.trades,
        Timeframe.M1,
        source=BarOrigin.HISTORICAL_AGGREGATED,
        revision=stated,
        id_before=answer.id_before,
        id_after=answer.id_after,
        single_before=answer.single_before,
        single_after=answer.single_after,
    ).filter("complete")
    filled = to_spans(bars.select("instrument", "open_time"), Timeframe.M1)
    missing = span.open_times_of(
        intersect(filled, holes.filter(pl.col("instrument") == answer.instrument)), Timeframe.M1
    )
    return bars.join(missing, on=["instrument", "open_time"], how="semi")
