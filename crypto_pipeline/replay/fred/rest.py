"""FRED's REST interface over macro series: series, observations, vintages, releases, and the plain CSV files."""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection
from datetime import date
from pathlib import Path
from typing import Any

from aiohttp import web

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.fred.catalogue import CATALOGUE
from crypto_pipeline.replay.fred.generated import generated_series, newest_end
from crypto_pipeline.replay.fred.recorded import recorded_series
from crypto_pipeline.replay.fred.series import OPEN_END, ZONE, FredSeries

#: Paths that belong to FRED and not to the exchange.
PREFIXES = ("/fred/", "/graph/")
#: Requests that are answered within a second, from any address.
_PER_SECOND = 2
_FIRST_DAY = date(1776, 7, 4)
_KEY = re.compile(r"[a-z0-9]{32}")
_READ = "Read https://fred.stlouisfed.org/docs/api/api_key.html for more information."
Handler = Callable[[web.Request], Awaitable[web.Response]]


class BadRequest(Exception):  # noqa: N818  (reads as the fact it states)
    """The request is answered with 400 and this text."""


class FredHandlers:
    """The handlers. ``folder``: recorded CSV files, used before generated series. ``keys``: those that are accepted;
    None for every one that is well formed. ``max_rows`` and ``max_vintages``: FRED's own limits, lower in tests."""

    def __init__(
        self,
        clock: VirtualClock,
        seed: int,
        folder: Path | None = None,
        keys: Collection[str] | None = None,
        *,
        throttled: bool = True,
        max_rows: int = 100_000,
        max_vintages: int = 2_000,
    ) -> None:
        self.clock, self.seed, self.folder, self.keys = clock, seed, folder, keys
        self.max_rows, self.max_vintages = max_rows, max_vintages
        #: How many requests came, and how many of them too fast.
        self.requests = self.refused = 0
        self._throttled = throttled
        self._recent: dict[str, deque[float]] = defaultdict(deque)

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        api = {
            "/fred/series": self._series, "/fred/series/observations": self._observations,
            "/fred/series/vintagedates": self._vintage_dates, "/fred/series/release": self._release,
            "/fred/release/dates": self._release_dates,
        }  # fmt: skip
        routes = [web.get(path, self._answering(handler, key=True)) for path, handler in api.items()]
        return [*routes, web.get("/graph/fredgraph.csv", self._answering(self._csv, key=False))]

    def series(self, series_id: str) -> FredSeries | None:
        """The series with this id: recorded, else generated."""
        if self.folder is not None and (found := recorded_series(self.folder, series_id)):
            return found
        return generated_series(series_id, self.seed)

    def _answering(self, handler: Handler, *, key: bool) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            self.requests += 1
            if self._too_fast(request.remote or ""):
                self.refused += 1
                return _refusal(429, "Too Many Requests.  Exceeded Rate Limit")
            try:
                if key:
                    self._require_key(request.query.get("api_key", ""))
                return await handler(request)
            except BadRequest as bad:
                return _refusal(400, f"Bad Request.  {bad}")

        return answer

    def _too_fast(self, address: str) -> bool:
        recent, now = self._recent[address], time.monotonic()
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        recent.append(now)
        return self._throttled and len(recent) > _PER_SECOND

    def _require_key(self, key: str) -> None:
        if not key:
            raise BadRequest(f"Variable api_key is not set.  {_READ}")
        if not _KEY.fullmatch(key):
            raise BadRequest(
                f"The value for variable api_key is not a 32 character alpha-numeric lower-case string.  {_READ}"
            )
        if self.keys is not None and key not in self.keys:
            raise BadRequest(f"The value for variable api_key is not registered.  {_READ}")

    def _asked(self, request: web.Request) -> FredSeries:
        series_id = request.query.get("series_id", "")
        if not series_id:
            raise BadRequest("Variable series_id is not set.")
        found = self.series(series_id)
        if found is None or not found.published(self.clock.now()):
            raise BadRequest("The series does not exist.")
        return found

    def _today(self) -> date:
        return self.clock.now().astimezone(ZONE).date()

    async def _series(self, request: web.Request) -> web.Response:
        found, day = self._asked(request), str(self._today())
        facts, now = found.facts, self.clock.now()
        known = sorted(found.known(now))
        updated = found.published(now)[-1].at.astimezone(ZONE)
        zone = f"{updated:%z}"[:3]
        one = {
            "id": facts.series_id, "realtime_start": day, "realtime_end": day, "title": facts.title,
            "observation_start": str(known[0]), "observation_end": str(known[-1]), "frequency": facts.frequency,
            "frequency_short": facts.frequency_short, "units": facts.units, "units_short": facts.units_short,
            "seasonal_adjustment": facts.seasonal_adjustment_short,
            "seasonal_adjustment_short": facts.seasonal_adjustment_short,
            "last_updated": f"{updated:%Y-%m-%d %H:%M:%S}{zone}", "popularity": 50, "notes": "Replayed.",
        }  # fmt: skip
        return web.json_response({"realtime_start": day, "realtime_end": day, "seriess": [one]})

    async def _release(self, request: web.Request) -> web.Response:
        facts, day = self._asked(request).facts, str(self._today())
        one = {
            "id": facts.release_id, "realtime_start": day, "realtime_end": day, "name": facts.release_name,
            "press_release": True,
        }  # fmt: skip
        return web.json_response({"realtime_start": day, "realtime_end": day, "releases": [one]})

    async def _release_dates(self, request: web.Request) -> web.Response:
        text = request.query.get("release_id", "")
        mine = [one for one in CATALOGUE.values() if str(one.facts.release_id) == text]
        if not mine:
            raise BadRequest("The release does not exist.")
        now = self.clock.now()
        planned = request.query.get("include_release_dates_with_no_data") == "true"
        last = newest_end(now) if planned else self._today()
        every = (self.series(one.facts.series_id) for one in mine)
        days = sorted({day for one in every if one is not None for day in one.release_days() if day <= last})
        rows = [{"release_id": int(text), "date": str(day)} for day in self._page(request, days, 10_000)]
        return web.json_response({"count": len(days), "offset": _number(request, "offset", 0), "release_dates": rows})

    async def _vintage_dates(self, request: web.Request) -> web.Response:
        found = self._asked(request)
        start, end = self._days(request, _FIRST_DAY, OPEN_END)
        days = [day for day in found.vintage_days(self.clock.now()) if start <= day <= end]
        rows = [str(day) for day in self._page(request, days, 10_000)]
        return web.json_response({"count": len(days), "offset": _number(request, "offset", 0), "vintage_dates": rows})

    async def _observations(self, request: web.Request) -> web.Response:
        found, now, today = self._asked(request), self.clock.now(), self._today()
        start, end = self._days(request, today, today)
        covered = [day for day in found.vintage_days(now) if start <= day <= end]
        if len(covered) > self.max_vintages:
            raise BadRequest(f"This exceeds the maximum number of vintage dates allowed ({self.max_vintages}).")
        rows = [
            {"realtime_start": str(max(first, start)), "realtime_end": str(min(last, end)), "date": str(period),
             "value": value}
            for period, vintages in sorted(found.vintages(now).items())
            for first, last, value in vintages
            if first <= end and last >= start
        ]  # fmt: skip
        page = self._page(request, rows, self.max_rows)
        head: dict[str, Any] = {
            "realtime_start": str(start), "realtime_end": str(end), "observation_start": str(_FIRST_DAY),
            "observation_end": str(OPEN_END), "units": "lin", "output_type": 1, "file_type": "json",
            "order_by": "observation_date", "sort_order": "asc", "count": len(rows),
            "offset": _number(request, "offset", 0), "limit": _number(request, "limit", self.max_rows),
        }  # fmt: skip
        return web.json_response({**head, "observations": page})

    async def _csv(self, request: web.Request) -> web.Response:
        series_id = request.query.get("id", "")
        found = self.series(series_id)
        known = {} if found is None else found.known(self.clock.now())
        if not known:
            return web.Response(status=404, text="<html><body>404 Not Found</body></html>", content_type="text/html")
        lines = [f"{period},{'' if value == '.' else value}" for period, value in sorted(known.items())]
        return web.Response(text="\n".join([f"observation_date,{series_id}", *lines, ""]), content_type="text/csv")

    def _days(self, request: web.Request, first: date, last: date) -> tuple[date, date]:
        try:
            start = date.fromisoformat(request.query.get("realtime_start", str(first)))
            end = date.fromisoformat(request.query.get("realtime_end", str(last)))
        except ValueError:
            raise BadRequest("Variable realtime_start is not a YYYY-MM-DD formatted date (e.g. 2000-02-24).") from None
        if start > end:
            raise BadRequest("Variable realtime_start is after variable realtime_end.")
        return start, end

    def _page(self, request: web.Request, rows: list[Any], most: int) -> list[Any]:
        limit, offset = _number(request, "limit", most), _number(request, "offset", 0)
        if not 1 <= limit <= most:
            raise BadRequest(f"Variable limit is not between 1 and {most}.")
        ordered = rows[::-1] if request.query.get("sort_order") == "desc" else rows
        return ordered[offset : offset + limit]


def _number(request: web.Request, name: str, usual: int) -> int:
    text = request.query.get(name, str(usual))
    if not re.fullmatch(r"\d{1,9}", text):
        raise BadRequest(f"Variable {name} is not an integer.")
    return int(text)


def _refusal(status: int, text: str) -> web.Response:
    return web.json_response({"error_code": status, "error_message": text}, status=status)
