"""What Massive states about instruments: listings, earlier tickers, splits, dividends and renames."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import msgspec

from crypto_pipeline.market.corporate_actions import actions
from crypto_pipeline.market.corporate_actions.actions import ActionKind, CorporateAction
from crypto_pipeline.market.corporate_actions.tickers import TickerSpan, ticker_spans
from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.market.times import midnight
from crypto_pipeline.venues.client.http import Params
from crypto_pipeline.venues.decoding import UNREADABLE, decode_rows, quoted
from crypto_pipeline.venues.massive.names import crypto_pair, dashed
from crypto_pipeline.venues.massive.parse import NEW_YORK
from crypto_pipeline.venues.protocol import (
    CorporateActionsAnswer,
    Listing,
    ListingStatus,
    RejectedRow,
    UnknownSymbol,
    shorten,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

_ZONE = "America/New_York"
#: Rows of a page, and for how long the list of all instruments is kept: it has about twelve pages.
_PAGE_ROWS, _KEEP_LISTINGS = 1_000, 3_600.0
#: A row of reference data has up to so many times the bytes of a bar.
_WIDE = 4


class _Ticker(msgspec.Struct):
    ticker: str
    active: bool = True
    currency_name: str = "usd"
    delisted_utc: str | None = None
    base_currency_symbol: str | None = None
    currency_symbol: str | None = None


class _Split(msgspec.Struct):
    ticker: str
    execution_date: str
    split_from: float
    split_to: float
    id: str = ""


class _Dividend(msgspec.Struct):
    ticker: str
    ex_dividend_date: str
    cash_amount: float
    currency: str = "USD"
    declaration_date: str | None = None
    dividend_type: str = "CD"
    id: str = ""


class _Change(msgspec.Struct):
    ticker: str


class _Event(msgspec.Struct):
    type: str
    date: str
    ticker_change: _Change | None = None


class _Events(msgspec.Struct):
    events: list[_Event] = []


_TICKER = msgspec.json.Decoder(_Ticker, strict=False)
_SPLIT = msgspec.json.Decoder(_Split, strict=False)
_DIVIDEND = msgspec.json.Decoder(_Dividend, strict=False)
_EVENTS = msgspec.json.Decoder(_Events)


class AskRows(Protocol):
    """Asks for the rows of an answer and of the pages after it."""

    def __call__(
        self,
        path: str,
        params: Params,
        read: Callable[[list[msgspec.Raw]], tuple[list[T], list[RejectedRow]]],
        page_rows: int,
    ) -> Awaitable[tuple[list[T], list[RejectedRow]]]:
        """Rows by ``read``, and those that it refused."""


class Reference:
    """Reads reference data by ``ask``."""

    def __init__(self, ask: AskRows, name: str, market: str) -> None:
        self._ask, self._name, self._market = ask, name, market
        self._listings: tuple[float, list[Listing]] = (-_KEEP_LISTINGS, [])
        self._former: dict[str, list[Listing]] = {}
        self._tickers: dict[str, list[TickerSpan]] = {}

    # Listings

    async def listings(self) -> list[Listing]:
        """Every active instrument. Kept for an hour."""
        asked, kept = self._listings
        if time.monotonic() - asked < _KEEP_LISTINGS:
            return kept
        rows = await self._tickers_page({"active": "true"})
        listings = [one for row in rows for one in self._listed(row)]
        self._listings = time.monotonic(), listings
        return listings

    async def former_listings(self, tickers: Sequence[str]) -> list[Listing]:
        """What of ``tickers`` is no longer active: the list of those is long, so it is asked for each by itself."""
        found = []
        for ticker in tickers:
            if ticker not in self._former:
                rows = await self._tickers_page({"active": "false", "ticker": ticker})
                self._former[ticker] = [one for row in rows for one in self._listed(row)]
            found += self._former[ticker]
        return found

    async def _tickers_page(self, more: dict[str, str]) -> list[_Ticker]:
        params: Params = {"market": self._market, "limit": _PAGE_ROWS, "sort": "ticker", "order": "asc", **more}

        def read(rows: list[msgspec.Raw]) -> tuple[list[_Ticker], list[RejectedRow]]:
            return decode_rows(rows, _TICKER, "tickers", lambda _: None, some=True)

        rows, refused = await self._ask("/v3/reference/tickers", params, read, _WIDE * _PAGE_ROWS)
        for one in refused:
            log.warning("%s lists an instrument in a way that cannot be read, skipped: %s", self._name, one.why)
        return rows

    def _listed(self, row: _Ticker) -> Iterator[Listing]:
        """The listing of a row; of a class of shares one by each of its two spellings."""
        delisted = None
        if not row.active and row.delisted_utc:
            try:
                delisted = require_utc(datetime.fromisoformat(row.delisted_utc))
            except ValueError:
                log.warning("%s: %s was delisted at %r, which is no time", self._name, row.ticker, row.delisted_utc)
        status = ListingStatus.TRADING if row.active else ListingStatus.DELISTED
        if self._market == "crypto":
            try:
                base, quote = row.base_currency_symbol or "", row.currency_symbol or ""
                if not (base and quote):
                    base, quote = crypto_pair(row.ticker)
            except ValueError as error:
                log.warning("%s: %s", self._name, error)
                return
            yield Listing(row.ticker, base, quote, status, delisted=delisted)
            return
        for base in dict.fromkeys((row.ticker, dashed(row.ticker))):
            yield Listing(row.ticker, base, row.currency_name.upper(), status, delisted=delisted)

    # Tickers of the past

    async def learn_tickers(self, ticker: str) -> None:
        """Ask, once, which tickers an instrument had before."""
        if ticker not in self._tickers:
            self._tickers[ticker] = ticker_spans(ticker, await self._renames(ticker, ticker, datetime.now(NEW_YORK)))

    def tickers_of(
        self, ticker: str, start: datetime, end: datetime, *, daily: bool = False
    ) -> Iterator[tuple[str, datetime, datetime]]:
        """The tickers of ``[start, end)`` as far as they were learned, and when; in time order.

        A rename takes effect at midnight in New York; for ``daily`` bars at 00:00 UTC of its date.
        """
        begin_of = midnight if daily else _midnight
        for each in self._tickers.get(ticker, [TickerSpan(ticker, None, None)]):
            first = start if each.first is None else max(start, begin_of(each.first))
            last = end if each.last is None else min(end, begin_of(each.last + timedelta(days=1)))
            if first < last:
                yield each.symbol, first, last

    async def _renames(self, instrument: str, ticker: str, seen_at: datetime) -> list[CorporateAction]:
        """Renames of an instrument, oldest first."""

        def read(rows: list[msgspec.Raw]) -> tuple[list[_Events], list[RejectedRow]]:
            return [_EVENTS.decode(row) for row in rows], []

        try:
            answers, _ = await self._ask_one(f"/vX/reference/tickers/{ticker}/events", {"types": "ticker_change"}, read)
        except UnknownSymbol:  # no events are known of it
            return []
        changes = sorted(
            (event.date, event.ticker_change.ticker)
            for answer in answers
            for event in answer.events
            if event.ticker_change is not None
        )
        found = []
        for (_, old), (day, new) in pairwise(changes):
            if old != new:
                found.append(actions.rename(instrument, date.fromisoformat(day), _ZONE, old, new, seen_at=seen_at))
        if found and found[-1].new_symbol != ticker:
            log.warning("%s: the renames of %s end with %s", self._name, ticker, found[-1].new_symbol)
            return []
        return found

    async def _ask_one(
        self, path: str, params: Params, read: Callable[[list[msgspec.Raw]], tuple[list[T], list[RejectedRow]]]
    ) -> tuple[list[T], list[RejectedRow]]:
        return await self._ask(path, params, read, _WIDE * _PAGE_ROWS)

    # Corporate actions

    async def corporate_actions(self, instrument: str, ticker: str, seen_at: datetime) -> CorporateActionsAnswer:
        """Splits, dividends and renames of an instrument, and rows that cannot be read or cannot be."""
        made: list[CorporateAction] = []
        refused: list[RejectedRow] = []
        for path, decoder, make in (
            ("/v3/reference/splits", _SPLIT, _split),
            ("/v3/reference/dividends", _DIVIDEND, _dividend),
        ):
            params: Params = {"ticker": ticker, "limit": _PAGE_ROWS}

            def read(
                rows: list[msgspec.Raw], decoder: msgspec.json.Decoder[Any] = decoder
            ) -> tuple[list[Any], list[RejectedRow]]:
                return decode_rows(rows, decoder, "corporate actions", lambda _: None)

            rows, bad = await self._ask(path, params, read, _WIDE * _PAGE_ROWS)
            refused += bad
            for row in rows:
                try:
                    made.append(make(instrument, row, seen_at))
                except UNREADABLE as error:
                    refused.append(RejectedRow(None, str(error), shorten(quoted(repr(row)))))
        made += await self._renames(instrument, ticker, seen_at)
        kinds = tuple(ActionKind) if not refused else (ActionKind.RENAME,)
        return CorporateActionsAnswer(instrument, tuple(made), seen_at, whole=kinds, refused=tuple(refused))


def _split(instrument: str, row: _Split, seen_at: datetime) -> CorporateAction:
    day = date.fromisoformat(row.execution_date)
    return actions.split(
        instrument, day, _ZONE, row.split_from, row.split_to, seen_at=seen_at, event_id=row.id or f"split {day}"
    )


def _dividend(instrument: str, row: _Dividend, seen_at: datetime) -> CorporateAction:
    day = date.fromisoformat(row.ex_dividend_date)
    declared = date.fromisoformat(row.declaration_date) if row.declaration_date else None
    return actions.dividend(
        instrument, day, _ZONE, row.cash_amount, row.currency or "USD", seen_at=seen_at, declared=declared,
        event_id=row.id or f"dividend {row.dividend_type} {day}",
    )  # fmt: skip


def _midnight(day: date) -> datetime:
    return require_utc(datetime(day.year, day.month, day.day, tzinfo=NEW_YORK))
