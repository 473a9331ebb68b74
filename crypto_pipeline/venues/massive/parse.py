"""Reads Massive's bodies into frames: aggregates, trades, the server's time, refusals.

A row that cannot be read or cannot be is refused with the reason; the rows beside it are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from crypto_pipeline.market.sanity import MAX_MS, trade_fault
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, midnight, unix_ms
from crypto_pipeline.venues.client.rest_venue import bar_frame
from crypto_pipeline.venues.client.timestamps import iso_ms
from crypto_pipeline.venues.decoding import UNREADABLE, decode, decode_rows, raw_rows, whole
from crypto_pipeline.venues.massive import conditions
from crypto_pipeline.venues.protocol import FetchPlan, MalformedAnswer, RejectedRow, shorten
from crypto_pipeline.venues.trade_rows import trade_frame

NEW_YORK = ZoneInfo("America/New_York")
_NS = 1_000_000
#: Where in a row the values of a bar stand.
_PLACES = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "trade_count": 6}
#: Trades of one millisecond that can be told apart by the ids that are made for them.
A_MILLISECOND = 1_000


class Aggregate(msgspec.Struct):
    """A bar: ``t`` its begin in Unix ms, ``v`` volume, ``n`` trades where stated. Numbers may have exponents."""

    t: int
    o: float
    h: float
    l: float  # noqa: E741  (the venue's name)
    c: float
    v: float
    n: int | None = None


class ResultPage(msgspec.Struct):
    """What every answer has: rows, or one object, and the address of the next page."""

    results: msgspec.Raw = msgspec.Raw(b"[]")
    next_url: str | None = None

    @property
    def rows(self) -> list[msgspec.Raw]:
        """The rows, unread; an object is one row. Raises MalformedAnswer for anything else."""
        begin = bytes(memoryview(self.results)[:1])
        if begin == b"{":
            return [self.results]
        return [] if bytes(self.results) == b"null" else raw_rows(self.results, "results")


class MassiveTrade(msgspec.Struct):
    """A trade of stocks or crypto. Times in Unix ns; ``conditions`` are codes."""

    price: float
    size: float
    participant_timestamp: int
    sip_timestamp: int | None = None
    conditions: list[int] = []
    id: str = ""

    @property
    def ms(self) -> int:
        """Unix ms: of the tape for stocks, of the exchange for crypto."""
        return (self.sip_timestamp or self.participant_timestamp) // _NS


class _Status(msgspec.Struct):
    serverTime: str  # noqa: N815  (the venue's name)


class _Refusal(msgspec.Struct):
    error: str = ""
    message: str = ""


_AGGREGATE = msgspec.json.Decoder(Aggregate, strict=False)
_TRADE = msgspec.json.Decoder(MassiveTrade, strict=False)
_PAGE = msgspec.json.Decoder(ResultPage)
_STATUS = msgspec.json.Decoder(_Status)
_REFUSAL = msgspec.json.Decoder(_Refusal)


def parse_server_time(body: bytes) -> float:
    """Unix ms of a market status, whose time has seconds. Raises MalformedAnswer."""
    text = decode(_STATUS, body, "market status").serverTime
    try:
        return float(iso_ms(text))
    except UNREADABLE as error:
        raise MalformedAnswer(f"market status: {shorten(text, 40)!r} is no time") from error


def parse_refusal(body: bytes) -> str:
    """The text of an error body; empty where there is none."""
    try:
        refusal = _REFUSAL.decode(body)
    except UNREADABLE:
        return ""
    return shorten(refusal.message or refusal.error)


def parse_page(body: bytes, where: str) -> ResultPage:
    """The rows of an answer, unread. ``results`` is absent where there are none. Raises MalformedAnswer."""
    return decode(_PAGE, body, where)


def parse_aggregates(rows: list[msgspec.Raw]) -> tuple[list[Aggregate], list[RejectedRow]]:
    """Bars, and rows that cannot be read. Raises MalformedAnswer where none can."""
    return decode_rows(rows, _AGGREGATE, "aggregates", lambda row: _ms(row["t"]), some=True)


def frame_of_aggregates(
    rows: list[Aggregate], plan: FetchPlan, span: tuple[datetime, datetime], revision: datetime
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """BAR_SCHEMA frame of the rows inside ``span``, oldest first, and the rows that cannot be bars.

    The bar of a day begins at midnight in New York there, and at 00:00 UTC of the same date here. A bar without trades
    states nothing. Rows from before or after the span appear where it is not on the venue's grid: they are left out.
    """
    low, high = (unix_ms(edge) for edge in span)
    daily = plan.timeframe is Timeframe.D1
    kept = []
    for row in rows:
        opened = _day_ms(row.t) if daily and 0 <= row.t < MAX_MS else row.t
        if row.v != 0 and (low <= opened < high or not 0 <= opened < MAX_MS):
            kept.append((opened, row))
    columns = [(_seconds(opened), row.o, row.h, row.l, row.c, row.v, row.n or 0) for opened, row in kept]
    frame, refused = bar_frame(columns, _PLACES, plan.instrument, plan.timeframe, revision, (low, high))
    unstated = [opened for opened, row in kept if row.n is None]
    if unstated:
        counted = ~pl.col("open_time").to_physical().is_in(unstated)
        frame = frame.with_columns(pl.when(counted).then(pl.col("trade_count")).alias("trade_count"))
    return frame, refused


def weeks_of(days: list[Aggregate]) -> list[Aggregate]:
    """Bars of weeks that begin at 00:00 UTC of Monday, of the bars of their days."""
    weeks: dict[int, list[Aggregate]] = {}
    for day in sorted(days, key=lambda row: row.t):
        monday = Timeframe.W1.floor(from_unix_ms(_day_ms(day.t))) if 0 <= day.t < MAX_MS else from_unix_ms(0)
        weeks.setdefault(unix_ms(monday), []).append(day)
    return [
        Aggregate(
            monday, rows[0].o, max(row.h for row in rows), min(row.l for row in rows), rows[-1].c,
            sum(row.v for row in rows), None if any(row.n is None for row in rows) else sum(row.n or 0 for row in rows),
        )
        for monday, rows in weeks.items()
    ]  # fmt: skip


def parse_trades(rows: list[msgspec.Raw]) -> tuple[list[MassiveTrade], list[RejectedRow]]:
    """Trades in their order, and rows that cannot be read or cannot be. Raises MalformedAnswer where none can be."""
    read, refused = decode_rows(
        rows, _TRADE, "trades", lambda row: _ms(int(row["participant_timestamp"]) // _NS), lambda row: whole(row["id"]),
        some=True,
    )  # fmt: skip
    trades = []
    for row in read:
        fault = trade_fault(1, 1, 1, row.ms, row.price, row.size)
        if fault is None:
            trades.append(row)
        else:
            refused.append(RejectedRow(_ms(row.ms), f"trades: {fault}", shorten(repr(row))))
    return trades, refused


def counted_trades(rows: list[MassiveTrade]) -> list[MassiveTrade]:
    """Those trades of stocks of which bars are made."""
    return [row for row in rows if conditions.updates_price(row.conditions)]


def frame_of_trades(rows: list[MassiveTrade], instrument: str, *, crypto: bool) -> pl.DataFrame:
    """TRADE_SCHEMA frame of the rows by time.

    Massive's ids do not rise with time and belong to several exchanges, so each trade gets one of its millisecond and
    its place in it. The taker's side is stated for crypto alone (condition 1: sell, 2: buy), and null for stocks.
    """
    ordered = sorted(rows, key=lambda row: row.ms)
    ids, before, place = [], -1, 0
    for row in ordered:
        place = place + 1 if row.ms == before else 0
        before = row.ms
        ids.append(row.ms * A_MILLISECOND + min(place, A_MILLISECOND - 1))
    frame = trade_frame(
        instrument,
        ids,
        [row.ms for row in ordered],
        [row.price for row in ordered],
        [row.size for row in ordered],
        [2 in row.conditions for row in ordered],
    )
    if crypto:
        return frame
    return frame.with_columns(pl.lit(None, pl.String).alias("taker_side"))


@dataclass(frozen=True, slots=True)
class Dated:
    """A span in the venue's words: dates for bars of days, Unix ms for others; both ends are inclusive."""

    first: str
    last: str

    @classmethod
    def of(cls, timeframe: Timeframe, start: datetime, end: datetime) -> Dated:
        """The span ``[start, end)``."""
        if timeframe is not Timeframe.M1:
            last = date.fromordinal(end.astimezone(UTC).date().toordinal() - 1)
            return cls(f"{start.astimezone(UTC):%Y-%m-%d}", f"{last:%Y-%m-%d}")
        return cls(str(unix_ms(start)), str(unix_ms(end) - 1))


def _day_ms(ms: int) -> int:
    """00:00 UTC of the New York date on which a bar of a day begins."""
    local = datetime.fromtimestamp(ms / 1000, NEW_YORK)
    return unix_ms(midnight(local.date()))


def _seconds(ms: int) -> float:
    """Unix seconds, whole where they can be."""
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def _ms(value: Any) -> int | None:
    number = whole(value)
    return number if number is not None and 0 <= number < MAX_MS else None
