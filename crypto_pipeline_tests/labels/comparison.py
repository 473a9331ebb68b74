"""One market through the package and through the reference, compared field by field."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.compute import SetupContext, find_setups, label
from crypto_pipeline.labels.intrabar import KeptMinutes, minutes_of
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe
from crypto_pipeline_tests.oracles import labels

#: Sets that find many setups and end them quickly, beside those that are always there.
OWN: dict[str, Any] = {
    "wide": {
        "dca": {"fall": 0.012, "rsi_max": 60, "volume_ratio": 0.5, "spacing": 3, "step": 0.004, "stop_below": 0.006},
        "swing": {"breakout": -0.004, "volume_ratio": 0.8, "rsi_min": 40, "rsi_max": 90},
        "channel": {
            "touches": 1, "containment": 0.8, "position_max": 0.4, "reward_to_risk": 0.3, "width_min": 0.005,
            "width_max": 0.3, "day_range_max": 0.3,
        },
    },
    "narrow": {
        "dca": {
            "fall": 0.01, "rsi_max": 70, "volume_ratio": 0.3, "spacing": 2, "step": 0.0015, "stop_below": 0.0015,
            "horizon": 48,
            "exits": {tier: {"take_profit": 0.003, "stop_loss": 0.02} for tier in ("large", "mid", "meme")},
        },
        "swing": {
            "breakout": -0.02, "volume_ratio": 0.3, "rsi_min": 20, "rsi_max": 95, "horizon": 24,
            "exits": {tier: {"take_profit": 0.004, "stop_loss": 0.004} for tier in ("large", "mid", "meme")},
        },
        "channel": {
            "touches": 0, "containment": 0.5, "position_max": 0.6, "reward_to_risk": 0, "width_min": 0.002,
            "width_max": 0.5, "day_range_max": 0.5, "target": 0.7, "stop_below": 0.002, "horizon": 64,
        },
    },
}  # fmt: skip
#: Nearly every bar is a candidate, and setups are to be 60 bars apart.
DENSE: dict[str, Any] = {"dense": {"dca": {"fall": 0.0001, "volume_ratio": 0.0, "rsi_max": 100.0, "spacing": 60}}}
SETS = parameter_sets(OWN | DENSE)
NAME = "ONE-USDT"


@dataclass
class Tally:
    """What the compared events were."""

    events: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.events.values())


def panel_of(bars: pl.DataFrame, start: datetime, end: datetime, timeframe: Timeframe = Timeframe.M15) -> Panel:
    """A panel of one instrument, called NAME."""
    return Panel.from_bars(bars.with_columns(pl.lit(NAME).alias("instrument")), [NAME], start, end, timeframe)


def context_of(benchmark: pl.DataFrame, hours: pl.DataFrame, start: datetime, end: datetime) -> SetupContext:
    """The benchmark's 15m bars and the instrument's 1h bars as setups look at them."""
    halted = halts(panel_of(benchmark, start, end).close[0])
    return SetupContext(halted, panel_of(hours, start, end, Timeframe.H1))


def as_bars(frame: pl.DataFrame) -> labels.Bars:
    times = frame["open_time"].cast(pl.Datetime("ms", "UTC")).to_physical().to_list()
    return dict(zip(times, frame.select("open", "high", "low", "close", "volume").rows(), strict=True))


def compare(
    minutes: pl.DataFrame,
    quarters: pl.DataFrame,
    hours: pl.DataFrame,
    benchmark: pl.DataFrame,
    tier: str,
    tally: Tally,
    sets: tuple[str, ...] = ("default", "wide", "narrow"),
    strategies: tuple[Strategy, ...] = tuple(Strategy),
) -> None:
    """Bars of one instrument (and the benchmark's 15m bars): every strategy with every set, equal in every field."""
    times = quarters["open_time"]
    start = datetime.fromtimestamp(times.min().timestamp() // 86_400 * 86_400, UTC)  # type: ignore[union-attr]
    end = times.max() + Timeframe.M15.delta  # type: ignore[operator]
    panel = panel_of(quarters, start, end)
    context = context_of(benchmark, hours, start, end)
    source = minutes_of(panel, {NAME: KeptMinutes.from_bars(minutes)})
    plain = [as_bars(frame) for frame in (quarters, minutes, hours, benchmark)]
    for name in sets:
        for strategy in strategies:
            parameters = SETS[name][strategy]
            found = find_setups(strategy, panel, context, parameters, {NAME: tier})
            ours = label(strategy, panel, found, parameters, {NAME: tier}, source)
            until = int(end.timestamp() * 1000)
            theirs = labels.labels(strategy, *plain, parameters.model_dump(mode="json"), tier, until)
            equal(ours, theirs, f"{name} {strategy}")
            _count(tally, strategy, parameters, ours, plain[0])


def equal(ours: pl.DataFrame, theirs: list[dict[str, Any]], what: str) -> None:
    mine = ours.with_columns(pl.col("signal_ts", "entry_ts", "label_end_ts").to_physical()).rows(named=True)
    signals = {row["signal_ts"] for row in theirs}
    assert [row["signal_ts"] for row in mine] == [row["signal_ts"] for row in theirs], (
        what,
        [row for row in mine if row["signal_ts"] not in signals][:1],
        [row for row in theirs if row["signal_ts"] not in {r["signal_ts"] for r in mine}][:1],
    )
    for row, other in zip(mine, theirs, strict=True):
        assert row.keys() == other.keys(), (what, row.keys() ^ other.keys())
        for name, value in row.items():
            assert same(value, other[name]), (what, name, value, other[name], row, other)


def same(value: Any, other: Any) -> bool:
    if isinstance(value, float) and isinstance(other, float | int):
        return math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-12)
    return (value is None or (isinstance(value, float) and math.isnan(value))) if other is None else value == other


def _count(tally: Tally, strategy: Strategy, parameters: Parameters, ours: pl.DataFrame, bars: labels.Bars) -> None:
    tally.events[strategy] += ours.height
    for outcome, ambiguous in ours.select(pl.col("outcome").fill_null("unfinished"), "ambiguous").iter_rows():
        tally.kinds[outcome] += 1
        tally.kinds[f"ambiguous {ambiguous}"] += 1
    beyond = ((pl.col("outcome") == "SL") & (pl.col("exit_px") < pl.col("stop_loss"))) | (
        (pl.col("outcome") == "TP") & (pl.col("exit_px") > pl.col("take_profit"))
    )
    tally.kinds["gap through a barrier"] += ours.filter(beyond).height
    ends = ours.select(pl.col("entry_ts", "label_end_ts").to_physical()).iter_rows()
    tally.kinds["bars missing on the way"] += sum(
        any(time not in bars for time in range(first, last, labels.QUARTER)) for first, last in ends
    )
