"""A whole deployment for benches: state of its ingest, state of its exchange, and a comparison of both."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import polars as pl

from crypto_pipeline.ingest.run import instruments_of_shard
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, StoreError
from crypto_pipeline_tests.builders.deployment import Deployment

PRICES = ("open", "high", "low", "close")


class Deployed:
    """One `up` on the generated market. ``url``: of its database, where that is not the embedded one."""

    def __init__(self, *options: str, url: str | None = None, **settings: str) -> None:
        self._url = url
        if url is not None:
            settings["database_url"] = url
        self.house = Deployment(*options, **settings)
        self._store: Store | None = None

    @property
    def url(self) -> str:
        """URL of the database of the bars."""
        return self._url or EmbeddedServer(self.house.data_dir).url()

    @property
    def symbols(self) -> list[str]:
        """Instruments that are collected and not delisted now."""
        return [name for name, _ in instruments_of_shard(self.store, "replay", 0, 1)]

    @property
    def base(self) -> str:
        return self.house.state.urls["replay"]

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store(self.url)
        return self._store

    @property
    def headers(self) -> dict[str, str]:
        """Headers of requests to the control endpoints."""
        token = self.house.places.replay_token()
        return {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def fault(self, faults: list[dict[str, Any]]) -> None:
        body = json.dumps(faults).encode()
        request = urllib.request.Request(f"{self.base}/_control/faults", body, self.headers)
        urllib.request.urlopen(request, timeout=10).read()

    def clear(self) -> None:
        urllib.request.urlopen(
            urllib.request.Request(f"{self.base}/_control/faults", headers=self.headers, method="DELETE"), timeout=10
        )

    def ask(self, path: str) -> Any:
        """The exchange's answer; waits while it limits requests."""
        while True:
            try:
                with urllib.request.urlopen(self.base + path, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise
                time.sleep(float(error.headers.get("Retry-After", "1")))

    def detail(self) -> dict[str, Any]:
        """Contents and age of the heartbeat; empty while the database is down."""
        with suppress(StoreError):
            beat = self.store.heartbeats.get("ingest-0")
            if beat is not None:
                return {**beat.detail, "beat_age": beat.age, "holder": beat.holder}
        return {}

    def live(self, other_than: int | None = None) -> bool:
        found = self.detail()
        return bool(
            found and found["state"] == "live" and found["beat_age"] < 5 and found["pid"] != other_than
        )  # fmt: skip

    def until(self, reached: Callable[[], bool], patience: float, what: str) -> float:
        began = time.monotonic()
        while not reached():
            if time.monotonic() - began > patience:
                raise SystemExit(f"not within {patience:.0f} s: {what}; heartbeat {self.detail()}")
            time.sleep(0.1)
        return time.monotonic() - began

    # -- the tape -------------------------------------------------------------------------------------------------

    def compare(self, start: datetime, end: datetime) -> dict[str, Any]:
        wrong: dict[str, Any] = {}
        ours = self.store.trades.read("replay", self.symbols, start, end)
        bars = self.store.reader.read(self.symbols, Timeframe.M1, start, end)
        for symbol in self.symbols:
            truth = self.true_trades(symbol, start, end)
            stored = {
                row[0]: row[1:]
                for row in ours.filter(pl.col("instrument") == symbol)
                .select("trade_id", pl.col("time").to_physical(), "price", "quantity", "taker_side")
                .iter_rows()
            }
            if stored != truth:
                lost, false = truth.keys() - stored.keys(), stored.keys() - truth.keys()
                other = [number for number in truth.keys() & stored.keys() if truth[number] != stored[number]]
                wrong[f"{symbol} trades"] = {"lost": sorted(lost)[:9], "false": sorted(false)[:9], "other": other[:9]}
            true_bars = self.true_bars(symbol, start, end)
            own = {
                row[0]: row[1:]
                for row in bars.filter(pl.col("instrument") == symbol)
                .select(pl.col("open_time").to_physical(), *PRICES, "trade_count", "volume", "complete")
                .iter_rows()
            }
            bad = [
                datetime.fromtimestamp(at / 1000, UTC).isoformat()
                for at in true_bars.keys() | own.keys()
                if not _same(true_bars.get(at), own.get(at))
            ]
            if bad:
                wrong[f"{symbol} bars"] = sorted(bad)[:9]
        cells = self.store.coverage.cells([Timeframe.M1], start, end)
        missing = cells.filter(pl.col("expected") > pl.col("present") + pl.col("explained"))
        if missing.height:
            wrong["coverage"] = missing.select("instrument", "expected", "present", "explained").rows()
        counts = bars.group_by("source").len().sort("source")
        self.counted = f"{ours.height:,} trades, bars {dict(counts.iter_rows())}"
        return wrong

    def true_trades(self, symbol: str, start: datetime, end: datetime) -> dict[int, tuple[Any, ...]]:
        found: dict[int, tuple[Any, ...]] = {}
        venue, last = symbol.replace("-", ""), round(end.timestamp() * 1000) - 1
        rows = self.ask(f"/api/v3/aggTrades?symbol={venue}&startTime={round(start.timestamp() * 1000)}&limit=1000")
        while rows:
            for row in rows:
                if row["T"] > last:
                    return found
                side = "sell" if row["m"] else "buy"
                found[row["a"]] = (row["T"], float(row["p"]), float(row["q"]), side)
            rows = self.ask(f"/api/v3/aggTrades?symbol={venue}&fromId={rows[-1]['a'] + 1}&limit=1000")
        return found

    def true_bars(self, symbol: str, start: datetime, end: datetime) -> dict[int, tuple[Any, ...]]:
        since, upto = round(start.timestamp() * 1000), round(end.timestamp() * 1000) - 1
        rows = self.ask(
            f"/api/v3/klines?symbol={symbol.replace('-', '')}&interval=1m&startTime={since}&endTime={upto}&limit=1000"
        )
        return {row[0]: (*map(float, row[1:5]), row[8], float(row[5]), True) for row in rows}


def _same(truth: tuple[Any, ...] | None, own: tuple[Any, ...] | None) -> bool:
    if truth is None or own is None:
        return False
    return truth[:5] == own[:5] and abs(truth[5] - own[5]) <= 1e-9 * max(truth[5], 1e-12) and truth[6] == own[6]
