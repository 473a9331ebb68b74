"""The file archive: daily and monthly zips of klines and aggregate trades with their checksums."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay.faults.book import Call, FaultBook, RowFaults
from crypto_pipeline.replay.faults.script import CorruptArchive
from crypto_pipeline.replay.market.render import bar_lines, trade_lines
from crypto_pipeline.replay.market.symbols import DAY_MS
from crypto_pipeline.replay.market.tape import floor_ms
from crypto_pipeline.replay.server.feed import Feed
from crypto_pipeline.replay.wire.cache import BoundedCache

_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9]+)-(?P<series>[A-Za-z0-9]+)-(?P<period>\d{4}-\d\d(-\d\d)?)\.zip(?P<sum>\.CHECKSUM)?"
)
_NO_SUCH_KEY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
    "<Message>The specified key does not exist.</Message><Key>{}</Key></Error>"
)
_BAR_HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    b"taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
_TRADE_HEADER = b"agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match\n"


@dataclass(frozen=True, slots=True)
class _File:
    """One archive file with the facts in its path. Times are Unix ms; ``timeframe`` None means aggregate trades."""

    symbol: str
    timeframe: Timeframe | None
    start: int
    end: int
    name: str

    @property
    def published(self) -> datetime:
        """Time of publication (UTC): the next day for daily files, the first of the next month for monthly ones."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.end)


class ArchiveHandlers:
    """Serves ``/data/spot/…`` from the same feed as the REST endpoints."""

    def __init__(self, feed: Feed, faults: FaultBook, cache_megabytes: int = 64) -> None:
        self.feed, self.faults = feed, faults
        self._zips: BoundedCache[bytes] = BoundedCache(cache_megabytes << 20)

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        spot = "/data/spot/{rhythm:daily|monthly}"
        return [
            web.get(spot + "/klines/{symbol}/{interval}/{name}", self.serve),
            web.get(spot + "/aggTrades/{symbol}/{name}", self.serve),
        ]

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with a zip, its checksum, or an object store's 404."""
        file = _parse(request)
        missing = web.Response(
            status=404, text=_NO_SUCH_KEY.format(request.path.lstrip("/")), content_type="application/xml"
        )
        if file is None or self.feed.market.symbol(file.symbol) is None or unix_ms(file.published) > self._now():
            return missing
        call = Call("archive", file.symbol, file.timeframe)
        wants_sum = request.path.endswith(".CHECKSUM")
        damage = self.faults.strikes(CorruptArchive, call, lambda fault: _shows(fault, wants_sum))
        if damage is not None and damage.manner == "missing":
            return missing
        body = await self._zip(file, self.faults.rows(call), header=damage is not None and damage.manner == "header")
        if body is None:
            return missing
        headers = {"Last-Modified": format_datetime(file.published, usegmt=True)}
        if damage is not None:
            body = _damaged(body, damage.manner, wants_sum)
        if wants_sum:
            text = f"{hashlib.sha256(body).hexdigest()}  {file.name}\n"
            return web.Response(text=text, headers=headers)
        return web.Response(body=body, headers=headers, content_type="application/zip")

    def _now(self) -> int:
        return self.feed.clock.now_ms()

    async def _zip(self, file: _File, rows: RowFaults, header: bool) -> bytes | None:
        """The file's bytes, or None if it would have no row. Files changed by faults are not cached."""
        plain = not rows.touch(file.start, file.end) and not header
        kept = self._zips.get(file.name) if plain else None
        if kept is not None:
            return kept or None
        if file.timeframe is None:
            frame = await self.feed.period_trades(file.symbol, file.start, file.end, rows)
            lines, title = trade_lines(frame, file.start), _TRADE_HEADER
        else:
            frame = await self.feed.period_bars(file.symbol, file.timeframe, file.start, file.end, rows)
            lines, title = bar_lines(frame, file.timeframe, file.start), _BAR_HEADER
        body = await asyncio.to_thread(_pack, file.name, (title if header else b"") + lines) if lines else b""
        if plain:
            self._zips.put(file.name, body, len(body) + 200)
        return body or None


def _parse(request: web.Request) -> _File | None:
    match = _NAME.fullmatch(request.match_info["name"])
    interval = request.match_info.get("interval")
    if match is None or match["symbol"] != request.match_info["symbol"] or match["series"] != (interval or "aggTrades"):
        return None
    daily = request.match_info["rhythm"] == "daily"
    if daily != bool(match[4]):
        return None
    try:
        timeframe = Timeframe(interval) if interval else None
        first = date.fromisoformat(match["period"] + ("" if daily else "-01"))
    except ValueError:
        return None
    after = first + timedelta(days=1) if daily else (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    start, end = ((day - date(1970, 1, 1)).days * DAY_MS for day in (first, after))
    name = request.match_info["name"].removesuffix(".CHECKSUM")
    if timeframe is Timeframe.W1 and daily and floor_ms(timeframe, start) != start:
        return None
    return _File(match["symbol"], timeframe, start, end, name)


def _pack(name: str, lines: bytes) -> bytes:
    """Zip the lines. The same rows give the same bytes, so that a checksum stays correct."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        entry = zipfile.ZipInfo(name.removesuffix(".zip") + ".csv", date_time=(1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        packed.writestr(entry, lines, compresslevel=1)
    return buffer.getvalue()


def _shows(fault: CorruptArchive, wants_sum: bool) -> bool:
    """Whether the fault changes this answer: wrong bytes change the zip, a wrong checksum the checksum, others both."""
    if fault.manner == "checksum":
        return wants_sum
    return not wants_sum or fault.manner in ("missing", "header")


def _damaged(body: bytes, manner: str, wants_sum: bool) -> bytes:
    """Damage either the zip or its checksum; the other one stays correct."""
    if manner == "checksum":
        return body + b"!" if wants_sum else body
    if manner == "truncated":
        return body[: len(body) // 2]
    if manner == "bytes":
        middle = len(body) // 2
        return body[:middle] + bytes(byte ^ 0xFF for byte in body[middle : middle + 16]) + body[middle + 16 :]
    return body
