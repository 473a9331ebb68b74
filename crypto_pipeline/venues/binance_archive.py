"""Binance's file archive: whole months and days of klines as zipped CSV, each with a SHA-256 beside it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import binance_parse as parse
from crypto_pipeline.venues.http import Answer, HttpClient
from crypto_pipeline.venues.protocol import FetchPlan, MalformedAnswer

log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
#: A month of 1m bars is 6 MB of text; nothing honest is larger than this.
_MAX_TEXT = 256 * 1024 * 1024
_CSV = {
    "open_time": pl.Int64(),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64()),
    "close_time": pl.Int64(),
    "quote_volume": pl.Float64(),
    "trade_count": pl.Int64(),
    **dict.fromkeys(("taker_buy_volume", "taker_buy_quote_volume", "ignore"), pl.Float64()),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a span and where it comes from: a monthly file, a daily file, or REST."""

    kind: Literal["monthly", "daily", "rest"]
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """The bars of one file and when the venue put it there."""

    bars: pl.DataFrame
    modified: datetime


def pieces(timeframe: Timeframe, start: datetime, end: datetime, page: int) -> Iterator[Piece]:
    """Cut a span: whole calendar months, then whole days, then what is left to REST.

    A file is worth asking for when it holds more bars than one REST page; a week crosses files, so weeks never are.
    """
    per_day = timeframe.bars_per_cell if timeframe.cell_days == 1 else 0
    rest = start
    while start < end:
        midnight = start == start.replace(hour=0, minute=0, second=0, microsecond=0)
        month_end = (start.replace(day=1) + 32 * _DAY).replace(day=1)
        kind: Literal["monthly", "daily"] | None = None
        if midnight and start.day == 1 and month_end <= end and 28 * per_day > page:
            kind, until = "monthly", month_end
        elif midnight and start + _DAY <= end and per_day > page:
            kind, until = "daily", start + _DAY
        else:
            until = min(start.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY, end)
        if kind is not None:
            if rest < start:
                yield Piece("rest", rest, start)
            yield Piece(kind, start, until)
            rest = until
        start = until
    if rest < end:
        yield Piece("rest", rest, end)


def days_of(piece: Piece, timeframe: Timeframe, page: int) -> Iterator[Piece]:
    """What to ask for instead of a monthly file that is not there."""
    if timeframe.bars_per_cell <= page:
        yield Piece("rest", piece.start, piece.end)
        return
    day = piece.start
    while day < piece.end:
        yield Piece("daily", day, day + _DAY)
        day += _DAY


def path_of(piece: Piece, venue_symbol: str, timeframe: Timeframe) -> str:
    """Path of the piece's file below the archive's address."""
    date = piece.start.strftime("%Y-%m" if piece.kind == "monthly" else "%Y-%m-%d")
    return f"/data/spot/{piece.kind}/klines/{venue_symbol}/{timeframe}/{venue_symbol}-{timeframe}-{date}.zip"


class Archive:
    """Fetches, verifies and reads archive files."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def fetch(self, plan: FetchPlan, piece: Piece) -> ArchiveFile:
        """The file's bars. NotFound where the archive has no such file, MalformedAnswer where it is corrupt twice."""
        path = path_of(piece, plan.venue_symbol, plan.timeframe)
        try:
            return await self._fetch(plan, piece, path)
        except MalformedAnswer as error:
            # Files are re-issued: zip and checksum may be of two issues, or the transfer was bad.
            log.warning("%s; fetching it once more", error)
            return await self._fetch(plan, piece, path)

    async def _fetch(self, plan: FetchPlan, piece: Piece, path: str) -> ArchiveFile:
        answer = await self._http.get(path, lambda answer: answer)
        promised = await self._http.get(path + ".CHECKSUM", _read_checksum)
        return await asyncio.to_thread(read_file, plan, piece, answer, promised)


def read_file(plan: FetchPlan, piece: Piece, answer: Answer, promised: str) -> ArchiveFile:
    """Verify and read a downloaded file. MalformedAnswer names the file and what is wrong with it."""
    try:
        found = hashlib.sha256(answer.body).hexdigest()
        if found != promised:
            raise MalformedAnswer(f"its SHA-256 is {found[:12]}…, promised is {promised[:12]}…")
        modified = _modified(answer)
        bars = parse.frame_of_csv(read_csv(_unzip(answer.body)), plan.instrument, plan.timeframe, modified)
        return ArchiveFile(parse.inside(bars, plan, piece.start, piece.end), modified)
    except MalformedAnswer as error:
        raise MalformedAnswer(f"corrupt archive file {answer.url}: {error}") from error


def read_csv(text: bytes) -> pl.DataFrame:
    """Klines CSV with or without header row. Raises MalformedAnswer for anything but 12 numbers in every row."""
    header = not text[:1].isdigit()
    try:
        frame = pl.read_csv(text, has_header=False, skip_rows=int(header), schema=_CSV, raise_if_empty=False)
    except pl.exceptions.PolarsError as error:
        raise MalformedAnswer(str(error).splitlines()[0]) from error
    sound = frame.select(pl.all_horizontal(pl.all().is_not_null().all(), (pl.col(pl.Float64).is_finite()).all())).item()
    if frame.height and not sound:
        raise MalformedAnswer("a row has fewer than 12 numbers")
    return frame


def _unzip(body: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as zipped:
            member = zipped.infolist()[0]
            if member.file_size > _MAX_TEXT:
                raise MalformedAnswer(f"{member.filename} would unpack to {member.file_size} bytes")
            return zipped.read(member)
    except (zipfile.BadZipFile, IndexError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise MalformedAnswer(f"not a readable zip ({error})") from error


def _read_checksum(answer: Answer) -> str:
    words = answer.body.decode("ascii", errors="replace").split()
    if not words or len(words[0]) != 64:
        raise MalformedAnswer(f"{answer.url} holds no SHA-256")
    return words[0].lower()


def _modified(answer: Answer) -> datetime:
    """When the venue issued the file: what revision its bars are."""
    try:
        return parsedate_to_datetime(answer.headers["Last-Modified"]).astimezone(UTC)
    except (KeyError, ValueError):
        raise MalformedAnswer("no Last-Modified says when it was issued") from None
