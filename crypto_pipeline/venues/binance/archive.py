"""Binance's file archive: whole months and days of klines as zipped CSV, each with a SHA-256 beside it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight, unix_ms
from crypto_pipeline.venues.binance import parse
from crypto_pipeline.venues.client.http import HttpClient
from crypto_pipeline.venues.client.responses import HttpResponse
from crypto_pipeline.venues.protocol import FetchPlan, MalformedAnswer, RejectedRow, shorten

log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
#: Bytes of one row of text; real rows have about 130.
_ROW_BYTES = 256
#: Lines allowed beside those of bars: a header, an empty line at the end, and a few bars off the grid.
_MORE_LINES = 64
_CSV = {
    "open_time": pl.Int64(),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64()),
    "close_time": pl.Int64(),
    "quote_volume": pl.Float64(),
    "trade_count": pl.Int64(),
    **dict.fromkeys(("taker_buy_volume", "taker_buy_quote_volume", "ignore"), pl.Float64()),
}


@dataclass(frozen=True, slots=True)
class SpanPart:
    """A part of a span and its source: a monthly file, a daily file, or REST. Times in UTC."""

    kind: Literal["monthly", "daily", "rest"]
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class ArchivedBars:
    """The bars of one archive file, and when the venue published it (UTC)."""

    bars: pl.DataFrame
    modified: datetime
    refused: tuple[RejectedRow, ...] = ()


def pieces(timeframe: Timeframe, start: datetime, end: datetime, page: int) -> Iterator[SpanPart]:
    """Cut a span into whole calendar months, whole days, and the rest, which is requested by REST.

    A file is used only if it has more bars than one REST page. Weekly bars cross files, so they always use REST.
    """
    per_day = timeframe.bars_per_cell if timeframe.cell_days == 1 else 0
    rest = start
    while start < end:
        whole_days = start == midnight(start)
        month_end = (start.replace(day=1) + 32 * _DAY).replace(day=1)
        kind: Literal["monthly", "daily"] | None = None
        if whole_days and start.day == 1 and month_end <= end and 28 * per_day > page:
            kind, until = "monthly", month_end
        elif whole_days and start + _DAY <= end and per_day > page:
            kind, until = "daily", start + _DAY
        else:
            until = min(midnight(start) + _DAY, end)
        if kind is not None:
            if rest < start:
                yield SpanPart("rest", rest, start)
            yield SpanPart(kind, start, until)
            rest = until
        start = until
    if rest < end:
        yield SpanPart("rest", rest, end)


def days_of(piece: SpanPart, timeframe: Timeframe, page: int) -> Iterator[SpanPart]:
    """The daily files (or REST parts) that replace a monthly file that does not exist."""
    if timeframe.bars_per_cell <= page:
        yield SpanPart("rest", piece.start, piece.end)
        return
    day = piece.start
    while day < piece.end:
        yield SpanPart("daily", day, day + _DAY)
        day += _DAY


def path_of(piece: SpanPart, venue_symbol: str, timeframe: Timeframe) -> str:
    """Path of the piece's file below the archive's address."""
    date = piece.start.strftime("%Y-%m" if piece.kind == "monthly" else "%Y-%m-%d")
    return f"/data/spot/{piece.kind}/klines/{venue_symbol}/{timeframe}/{venue_symbol}-{timeframe}-{date}.zip"


class BinanceArchive:
    """Fetches, verifies and reads archive files."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def fetch(self, plan: FetchPlan, piece: SpanPart) -> ArchivedBars:
        """The file's bars. Raises NotFound if there is no such file, MalformedAnswer if it is corrupt twice."""
        path = path_of(piece, plan.venue_symbol, plan.timeframe)
        try:
            file = await self._fetch(plan, piece, path)
            if not file.refused:
                return file
            log.warning(
                "corrupt archive file %s%s: %d rows are invalid, first: %s; fetching it once more",
                *(self._http.base_url, path, len(file.refused), file.refused[0].reason),
            )
            return await self._fetch(plan, piece, path)
        except MalformedAnswer as error:
            # The venue replaces files: zip and checksum may be of two versions, or the transfer failed.
            log.warning("%s; fetching it once more", error)
            return await self._fetch(plan, piece, path)

    async def _fetch(self, plan: FetchPlan, piece: SpanPart, path: str) -> ArchivedBars:
        answer = await self._http.get(path, lambda answer: answer, max_bytes=_most_text(plan, piece))
        promised = await self._http.get(path + ".CHECKSUM", _read_checksum)
        return await asyncio.to_thread(read_file, plan, piece, answer, promised)


def read_file(plan: FetchPlan, piece: SpanPart, answer: HttpResponse, promised: str) -> ArchivedBars:
    """Verify and read a downloaded file. Raises MalformedAnswer that names the file and the fault."""
    try:
        found = hashlib.sha256(answer.body).hexdigest()
        if found != promised:
            raise MalformedAnswer(f"its SHA-256 is {found[:12]}…, its checksum file says {promised[:12]}…")
        modified = _modified(answer)
        text = _unzip(answer.body, _most_text(plan, piece))
        if (lines := text.count(b"\n")) > (most := _most_rows(plan, piece)):
            raise MalformedAnswer(f"it has {lines:,} lines, more than the {most:,} of all its bars")
        raw, unread = read_csv(text)
        span = unix_ms(piece.start), unix_ms(piece.end)
        bars, refused = parse.frame_of_csv(raw, plan.instrument, plan.timeframe, modified, span)
        return ArchivedBars(bars, modified, (*unread, *refused))
    except MalformedAnswer as error:
        raise MalformedAnswer(f"corrupt archive file {answer.url}: {error}") from error


def read_csv(text: bytes) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """Read klines CSV with or without a header: rows of 12 numbers (float64), and rejected rows. Raises
    MalformedAnswer.
    """
    skip = int(not text[:1].isdigit())
    try:
        frame = pl.read_csv(text, has_header=False, skip_rows=skip, schema=_CSV, raise_if_empty=False)
        if not frame.height or frame.select(pl.all_horizontal(pl.all().is_not_null().all())).item():
            return frame, []
    except pl.exceptions.PolarsError:
        pass  # a row has other text than numbers; the code below finds it
    return _row_by_row(text, skip)


def _row_by_row(text: bytes, skip: int) -> tuple[pl.DataFrame, list[RejectedRow]]:
    try:
        lines = pl.read_csv(
            text, has_header=False, skip_rows=skip, schema=dict.fromkeys(_CSV, pl.String()), raise_if_empty=False,
            missing_columns="insert", truncate_ragged_lines=True, quote_char=None, encoding="utf8-lossy",
        )  # fmt: skip
    except pl.exceptions.PolarsError as error:
        raise MalformedAnswer(str(error).splitlines()[0]) from error
    read = lines.select(pl.col(name).cast(kind, strict=False) for name, kind in _CSV.items())
    whole = read.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    bad = lines.with_row_index("line", offset=1 + skip).filter(~whole)
    refused = [
        RejectedRow(
            None,
            f"line {row[0]} does not have 12 numbers",
            shorten(",".join("" if one is None else one for one in row[1:])),
        )
        for row in bad.iter_rows()
    ]
    return read.filter(whole), refused


def _most_rows(plan: FetchPlan, piece: SpanPart) -> int:
    return plan.timeframe.count(piece.start, piece.end) + _MORE_LINES


def _most_text(plan: FetchPlan, piece: SpanPart) -> int:
    """Greatest size of the piece's file in bytes, packed or unpacked."""
    return _most_rows(plan, piece) * _ROW_BYTES


def _unzip(body: bytes, most: int) -> bytes:
    """The text of the only file in a zip. At most ``most`` bytes are unpacked; the stated size is not trusted."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as zipped:
            members = zipped.infolist()
            if len(members) != 1:
                raise MalformedAnswer(f"it contains {len(members)} files instead of one")
            with zipped.open(members[0]) as file:
                text = file.read(most + 1)
    except (
        zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError,
        OverflowError, struct.error, UnicodeError,
    ) as error:  # fmt: skip
        raise MalformedAnswer(f"not a readable zip ({error})") from error
    if len(text) > most:
        raise MalformedAnswer(f"it unpacks to more than the {most:,} bytes of all its bars")
    return text


def _read_checksum(answer: HttpResponse) -> str:
    words = answer.body.decode("ascii", errors="replace").split()
    if not words or len(words[0]) != 64:
        raise MalformedAnswer(f"{answer.url} holds no SHA-256")
    return words[0].lower()


def _modified(answer: HttpResponse) -> datetime:
    """When the venue published the file (UTC): the revision of its bars."""
    try:
        return parsedate_to_datetime(answer.headers["Last-Modified"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        raise MalformedAnswer("it has no Last-Modified header") from None
