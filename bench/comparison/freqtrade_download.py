"""Run by an interpreter with freqtrade: `download-data`, what it then has on disk, what it hands to a strategy.

Reads {"url", "pairs", "start", "end", "folder"} from stdin; answers {"seconds", "version", "rows", "filled", "said"}:
``rows`` as stored, ``filled`` counts the rows that it hands out beyond those. With {"year": {…}} it times a read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import freqtrade
import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.data.history import get_datahandler, load_pair_history
from freqtrade.enums import CandleType
from freqtrade.main import main as command


def configuration(asked: dict[str, object], folder: Path) -> Path:
    """A configuration whose exchange is the one at the url."""
    api = f"{asked['url']}/api/v3"
    own = {
        "urls": {"api": {"public": api, "private": api}},
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        "enableRateLimit": False,
    }
    chosen = {
        "stake_currency": "USDT", "stake_amount": 100, "max_open_trades": 1, "dry_run": True, "trading_mode": "spot",
        "timeframe": "1m", "dataformat_ohlcv": "feather", "entry_pricing": {"price_side": "same"},
        "exit_pricing": {"price_side": "same"}, "pairlists": [{"method": "StaticPairList"}],
        "exchange": {
            "name": "binance", "pair_whitelist": asked["pairs"], "ccxt_config": own, "only_from_ccxt": True,
        },
    }  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(chosen))
    return path


def download(asked: dict[str, object], folder: Path) -> float:
    """Seconds of `freqtrade download-data` without its imports."""
    span = "-".join(datetime.fromtimestamp(int(asked[end]) / 1000, UTC).strftime("%Y%m%d") for end in ("start", "end"))
    arguments = [
        "download-data", "--config", str(configuration(asked, folder)), "--timeframes", "1m", "--timerange", span,
        "--datadir", str(folder / "data"), "--userdir", str(folder),
    ]  # fmt: skip
    began = time.monotonic()
    with contextlib.suppress(SystemExit):  # what it has stored is counted
        command(arguments)
    return time.monotonic() - began


class Said(logging.Handler):
    """What it says of missing data."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        text = record.getMessage()
        if "issing data" in text:
            self.lines.append(text)


def stored(asked: dict[str, object], folder: Path) -> dict[str, object]:
    """Rows on disk, how many more a strategy gets, and what was said of it."""
    said = Said()
    logging.getLogger().addHandler(said)
    logging.getLogger("freqtrade").setLevel(logging.INFO)
    span = TimeRange("date", "date", int(asked["start"]) // 1000, int(asked["end"]) // 1000 - 60)
    rows, filled = {}, {}
    for pair in asked["pairs"]:  # type: ignore[attr-defined]
        given = {"datadir": folder / "data", "timeframe": "1m", "pair": pair, "timerange": span}
        raw = load_pair_history(**given, fill_up_missing=False, drop_incomplete=False)
        whole = load_pair_history(**given, fill_up_missing=True, drop_incomplete=False)
        filled[pair] = len(whole) - len(raw)
        times = (raw["date"].astype("datetime64[ms, UTC]").astype("int64")).tolist()
        columns = [raw[name].tolist() for name in ("open", "high", "low", "close", "volume")]
        rows[pair] = [list(row) for row in zip(times, *columns, strict=True)]
    return {"rows": rows, "filled": filled, "said": said.lines}


def year(file: str, folder: Path) -> dict[str, float]:
    """Write a year of bars of one pair, read it back five times: seconds (median), bytes on disk."""
    frame = pd.read_parquet(file)
    frame["date"] = pd.to_datetime(frame.pop("open_time"), utc=True)
    frame = frame[["date", "open", "high", "low", "close", "volume"]]
    (folder / "year").mkdir()
    handler = get_datahandler(folder / "year", "feather")
    began = time.monotonic()
    handler.ohlcv_store("BTC/USDT", "1m", frame, CandleType.SPOT)
    wrote = time.monotonic() - began
    took = []
    for _ in range(5):
        began = time.monotonic()
        read = load_pair_history(
            datadir=folder / "year", timeframe="1m", pair="BTC/USDT", fill_up_missing=False, drop_incomplete=False
        )
        took.append(time.monotonic() - began)
        assert len(read) == len(frame), (len(read), len(frame))
    size = sum(path.stat().st_size for path in (folder / "year").rglob("*") if path.is_file())
    return {"write": wrote, "read": statistics.median(took), "bytes": size}


def main() -> None:
    """Answer one question."""
    asked = json.load(sys.stdin)
    folder = Path(asked["folder"])
    out, sys.stdout = sys.stdout, sys.stderr  # it prints tables
    if "year" in asked:
        answer: dict[str, object] = dict(year(asked["year"], folder))
    else:
        seconds = download(asked, folder)
        answer = {"seconds": seconds, "version": freqtrade.__version__, **stored(asked, folder)}
    json.dump(answer, out)


if __name__ == "__main__":
    main()
