"""Run by an interpreter with ccxt: a month of 1m candles, page by page, as its manual shows.

Reads {"url", "pairs", "start", "end"} (Unix ms) from stdin; answers {"seconds", "version", "rows": {pair: [[ms, o, h,
l, c, v], …]}}.
"""

from __future__ import annotations

import json
import sys
import time

import ccxt

MINUTE = 60_000


def main() -> None:
    """Download every pair."""
    asked = json.load(sys.stdin)
    exchange = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"]["public"] = f"{asked['url']}/api/v3"
    exchange.session.trust_env = False
    began = time.monotonic()
    found = {}
    for pair in asked["pairs"]:
        rows: list[list[float]] = []
        since = asked["start"]
        while since < asked["end"]:
            page = exchange.fetch_ohlcv(pair, "1m", since=since, limit=1000)
            if not page:
                break
            rows += [row for row in page if row[0] < asked["end"]]
            since = page[-1][0] + MINUTE
        found[pair] = rows
    seconds = time.monotonic() - began
    json.dump({"seconds": seconds, "version": ccxt.__version__, "rows": found}, sys.stdout)


if __name__ == "__main__":
    main()
