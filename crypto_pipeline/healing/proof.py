"""Trades as proof: ids that run on without a jump prove silence, trades that are there rebuild the bar."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.healing import spans as span
from crypto_pipeline.healing.reports import Progress
from crypto_pipeline.market.aggregation import bars_from_trades
from crypto_pipeline.market.bars import Source, empty_bars
from crypto_pipeline.market.evidence import TradeProof
from crypto_pipeline.market.gaps import intersect, to_spans
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import TradesAnswer, Venue, VenueError

log = logging.getLogger(__name__)

# Holes of one instrument and day that are asked for one by one; with more, the day's trades are read once.
_SINGLY = 5
# A hole longer than this is not rebuilt from trades: a liquid pair has a million of them a day. Bars are asked again.
_LONGEST = timedelta(hours=12)


@dataclass(slots=True)
class Proofs:
    """What trades said about holes, by instrument; and bars rebuilt from them."""

    answers: dict[str, list[TradesAnswer]] = field(default_factory=dict)
    rebuilt: pl.DataFrame = field(default_factory=empty_bars)

    def of(self, name: str, start: datetime, end: datetime) -> TradeProof | None:
        """The trades asked for about a hole, or None."""
        for answer in self.answers.get(name, []):
            if answer.start <= start and end <= answer.end:
                return TradeProof(answer.start, answer.end, answer.trades, answer.id_before, answer.id_after)
        return None

    def rebuilt_spans(self, timeframe: Timeframe) -> pl.DataFrame:
        """Spans of the rebuilt bars."""
        return to_spans(self.rebuilt.select("instrument", "open_time"), timeframe)


async def gather_proofs(
    venue: Venue, known: dict[str, dict[str, Any]], holes: pl.DataFrame, progress: Progress
) -> Proofs:
    """Ask the venue for the trades around every hole and rebuild the bars that they make whole."""
    proofs = Proofs()
    asks = [
        ask
        for (name,), rows in holes.partition_by("instrument", as_dict=True).items()
        for ask in _asks(str(name), rows)
    ]
    done = 0

    async def ask(name: str, start: datetime, end: datetime) -> None:
        nonlocal done
        try:
            answer = await venue.trades(name, known[name]["venue_symbol"], start, end)
            proofs.answers.setdefault(name, []).append(answer)
        except VenueError as error:  # without proof the hole stays lost and is asked for again
            log.warning("%s: no trades of %s … %s: %s", name, start, end, error)
        done += 1
        progress("ask for trades", done, len(asks))

    for batch in range(0, len(asks), 64):
        await asyncio.gather(*(ask(*one) for one in asks[batch : batch + 64]))
    rebuilt = [_rebuild(answer, holes) for answers in proofs.answers.values() for answer in answers]
    proofs.rebuilt = pl.concat([empty_bars(), *rebuilt])
    return proofs


def _asks(name: str, holes: pl.DataFrame) -> list[tuple[str, datetime, datetime]]:
    """Spans to ask trades for: each hole, or the whole day's hull where there are many."""
    asks: list[tuple[str, datetime, datetime]] = []
    short = holes.filter(pl.col("end") - pl.col("start") <= _LONGEST)
    for rows in short.with_columns(pl.col("start").dt.date().alias("day")).partition_by("day"):
        if rows.height <= _SINGLY:
            asks.extend((name, start, end) for start, end in rows.select("start", "end").iter_rows())
        else:
            start, end = rows.select(pl.col("start").min(), pl.col("end").max()).row(0)
            asks.append((name, start, end))
    return asks


def _rebuild(answer: TradesAnswer, holes: pl.DataFrame) -> pl.DataFrame:
    """Bars of the missing minutes that the trades make whole."""
    if answer.trades.is_empty():
        return empty_bars()
    stated = answer.trades.select(pl.col("time").max()).item()
    bars = bars_from_trades(
        answer.trades,
        Timeframe.M1,
        source=Source.HISTORICAL_AGGREGATED,
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
