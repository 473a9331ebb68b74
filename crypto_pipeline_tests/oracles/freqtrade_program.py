"""Run by an interpreter with freqtrade 2026.9: every signal as a trade of its backtester.

Reads the JSON document of ``trading_signals.SignalBook.question``; answers with one row per trade. freqtrade has one
trade per pair at a time, so signals of one strategy must not overlap. A trade has the signal's stop
(``custom_stoploss``) and its target (``custom_roi``); at the end of the horizon ``custom_exit`` asks to sell, which is
done at the next open. Nothing is asked of an exchange: markets are written down here.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.enums import RunMode
from freqtrade.exchange import Binance
from freqtrade.optimize.backtesting import Backtesting
from freqtrade.strategy import IStrategy, stoploss_from_absolute

STAKE = 1_000.0


class SignalTrades(IStrategy):
    """Buys where ``config["signals"]`` says; the tag of a trade is the signal's id."""

    INTERFACE_VERSION = 3
    timeframe = "15m"
    stoploss = -0.99
    minimal_roi = {"0": 1_000.0}  # noqa: RUF012  (as freqtrade has it)
    use_custom_stoploss = True
    use_custom_roi = True
    startup_candle_count = 0

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        tags = {
            pd.Timestamp(each["time"], unit="ms", tz="UTC"): str(each["id"])
            for each in self.config["signals"].values()
            if pair_of(each["instrument"]) == metadata["pair"]
        }
        dataframe["enter_tag"] = dataframe["date"].map(tags)
        dataframe["enter_long"] = dataframe["enter_tag"].notna().astype(int)
        return dataframe

    def populate_exit_trend(self, dataframe: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
        dataframe["exit_long"] = 0
        return dataframe

    def _signal(self, trade: Any) -> dict[str, Any]:
        return self.config["signals"][trade.enter_tag]

    def custom_stoploss(self, pair: str, trade: Any, current_time: datetime, current_rate: float, *_: Any, **__: Any):
        return stoploss_from_absolute(self._signal(trade)["stop"], current_rate)

    def custom_roi(self, pair: str, trade: Any, *_: Any, **__: Any) -> float:
        fee, target = self.config["fee"], self._signal(trade)["target"]
        return target * (1 - fee) / (trade.open_rate * (1 + fee)) - 1

    def custom_exit(self, pair: str, trade: Any, current_time: datetime, *_: Any, **__: Any) -> str | None:
        return "horizon" if current_time.timestamp() * 1000 >= self._signal(trade)["end"] else None


def pair_of(name: str) -> str:
    return name.replace("-", "/")


class WrittenMarkets(Binance):
    """Binance without a connection."""

    def reload_markets(self, force: bool = False, *, load_leverage_tiers: bool = True) -> None:
        self._markets = {pair: market(pair) for pair in self._config["exchange"]["pair_whitelist"]}
        self._api.markets = self._api_async.markets = self._markets


def market(pair: str) -> dict[str, Any]:
    base, quote = pair.split("/")
    limits = {part: {"min": None, "max": None} for part in ("amount", "cost", "price", "leverage")}
    return {
        "id": base + quote, "symbol": pair, "base": base, "quote": quote, "spot": True, "active": True, "type": "spot",
        "swap": False, "future": False, "margin": False, "precision": {"amount": 1e-12, "price": 1e-10},
        "limits": limits, "info": {}, "contractSize": None, "linear": None,
    }  # fmt: skip


def configuration(folder: Path, pairs: list[str], signals: list[dict[str, Any]], fee: float) -> dict[str, Any]:
    return {
        "strategy": "SignalTrades", "strategy_path": str(Path(__file__).parent), "runmode": RunMode.BACKTEST,
        "timeframe": "15m", "stake_currency": "USDT", "stake_amount": STAKE, "max_open_trades": float("inf"),
        "dry_run": True, "dry_run_wallet": 1e9, "fee": fee, "user_data_dir": folder, "datadir": folder,
        "exportdirectory": folder, "export": "none", "exchange": {"name": "binance", "pair_whitelist": pairs,
        "pair_blacklist": []}, "pairlists": [{"method": "StaticPairList"}], "entry_pricing": {}, "exit_pricing": {},
        "dataformat_ohlcv": "feather", "dataformat_trades": "feather", "trading_mode": "spot", "margin_mode": "",
        "signals": {str(each["id"]): each for each in signals}, "tradable_balance_ratio": 1.0,
        "unfilledtimeout": {"entry": 1, "exit": 1, "unit": "minutes"}, "internals": {}, "enable_protections": False,
    }  # fmt: skip


def run(bars: dict[str, Any], signals: list[dict[str, Any]], fee: float, folder: Path) -> list[dict[str, Any]]:
    frames = {}
    for name, columns in bars.items():
        frame = pd.DataFrame({part: columns[part] for part in ("open", "high", "low", "close", "volume")})
        frame.insert(0, "date", pd.to_datetime(columns["time"], unit="ms", utc=True))
        frames[pair_of(name)] = frame
    config = configuration(folder, list(frames), signals, fee)
    exchange = WrittenMarkets(config, validate=False)
    exchange.reload_markets()
    engine = Backtesting(config, exchange)
    engine._set_strategy(engine.strategylist[0])
    engine.timerange = TimeRange()
    processed = engine.strategy.advise_all_indicators(frames)
    dates = [moment for frame in frames.values() for moment in frame["date"]]
    found = engine.backtest(processed=processed, start_date=min(dates), end_date=max(dates))["results"]
    rows = []
    for trade in found.to_dict("records"):
        if trade["exit_reason"] == "force_exit":
            continue
        paid = trade["open_rate"] * trade["amount"] * (1 + trade["fee_open"])
        got = trade["close_rate"] * trade["amount"] * (1 - trade["fee_close"])
        rows.append({
            "id": int(trade["enter_tag"]), "entry": unix_ms(trade["open_date"]), "entry_price": trade["open_rate"],
            "filled": 1, "exit": unix_ms(trade["close_date"]), "exit_price": trade["close_rate"],
            "net_return": got / paid - 1,
        })  # fmt: skip
    return rows


def unix_ms(moment: Any) -> int:
    return round(moment.to_pydatetime().astimezone(UTC).timestamp() * 1000)


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    question, answer = json.load(sys.stdin), sys.stdout
    sys.stdout = sys.stderr
    trades: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for strategy in sorted({each["strategy"] for each in question["signals"]}):
            own = [each for each in question["signals"] if each["strategy"] == strategy]
            trades += run(question["bars"], own, question["fee"], Path(folder))
    json.dump(sorted(trades, key=lambda each: each["id"]), answer)


if __name__ == "__main__":
    main()
