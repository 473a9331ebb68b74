"""Events of a strategy on random walks of 15m bars, by the product's own setups, labels and features, without a store.

Nothing foretells a random walk, so whatever a model finds in these events is a fault of features, labels or splits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Panel
from crypto_pipeline.features.compute import compute_features
from crypto_pipeline.labels.compute import SetupContext, find_setups, label
from crypto_pipeline.labels.parameters import DEFAULT, LOOSE, parameter_sets
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe

START = datetime(2026, 1, 1, tzinfo=UTC)
_STEPS = 6
_TIERS = ("large", "mid", "meme")


def walk_bars(instruments: int, days: int, seed: int) -> dict[Timeframe, pl.DataFrame]:
    """Bars of random walks with a common market, volatility and volume that change slowly, by timeframe."""
    from scipy.signal import lfilter

    rng = np.random.default_rng([31, seed])
    count = days * 96

    def slow(size: float) -> Floats:
        steps = rng.standard_normal((instruments, count)) * np.sqrt(1 - 0.995**2)
        found: Floats = size * lfilter([1.0], [1, -0.995], steps, axis=1)
        return found

    shape = (instruments, count, _STEPS)
    moves = 0.5 * rng.standard_normal((1, count, _STEPS)) + 0.85 * rng.standard_normal(shape)
    moves *= (0.006 * np.exp(slow(0.4)) / np.sqrt(_STEPS))[:, :, None]
    path = np.cumsum(moves.reshape(instruments, -1), axis=1).reshape(shape)
    before = np.concatenate([np.zeros((instruments, 1)), path[:, :-1, -1]], axis=1)
    prices = np.exp(np.concatenate([before[:, :, None], path], axis=2)) * 100
    volume = np.exp(rng.normal(5, 0.6, (instruments, count)) + slow(0.5))
    columns = {"open": prices[:, :, 0], "high": prices.max(2), "low": prices.min(2), "close": prices[:, :, -1]}
    times = np.tile(np.arange(count) * 900_000 + round(START.timestamp() * 1000), instruments)
    names = ["BTC-USDT", *(f"C{number:03d}-USDT" for number in range(1, instruments))]
    fine = pl.DataFrame({
        "instrument": pl.Series(names).gather(np.repeat(np.arange(instruments), count)),
        "open_time": pl.Series(times).cast(pl.Datetime("ms", "UTC")),
        **{name: values.ravel() for name, values in columns.items()}, "volume": volume.ravel(),
    })  # fmt: skip
    wider = (Timeframe.H1, Timeframe.H4, Timeframe.D1)
    return {Timeframe.M15: fine, **{timeframe: _rolled(fine, str(timeframe)) for timeframe in wider}}


def _rolled(bars: pl.DataFrame, every: str) -> pl.DataFrame:
    return bars.group_by("instrument", pl.col("open_time").dt.truncate(every), maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )


def walk_events(strategy: Strategy, instruments: int, days: int, seed: int) -> pl.DataFrame:
    """The events of ``strategy`` in the form that ``training.train`` takes, with all of its inputs."""
    bars = walk_bars(instruments, days, seed)
    end = START + timedelta(days=days)
    names = bars[Timeframe.M15]["instrument"].unique(maintain_order=True).to_list()
    tiers = {name: _TIERS[number % 3] for number, name in enumerate(names)}
    panel = Panel.from_bars(bars[Timeframe.M15], names, START, end, Timeframe.M15)
    hours = Panel.from_bars(bars[Timeframe.H1], names, START, end, Timeframe.H1)
    context = SetupContext(halts(panel.close[0]), hours)
    parts = []
    for name in (DEFAULT, LOOSE):
        parameters = parameter_sets({})[name][strategy]
        setups = find_setups(strategy, panel, context, parameters, tiers)
        found = label(strategy, panel, setups, parameters, tiers)
        owner = pl.Series("instrument", names).gather(setups["number"])
        parts.append(found.with_columns(owner, pl.lit(name == DEFAULT).alias("is_default")))
    labels = pl.concat(parts).filter(pl.col("outcome").is_not_null())
    labels = labels.unique(["instrument", "signal_ts"], keep="first", maintain_order=True)
    signals = labels.select("instrument", open_time="signal_ts")
    features = compute_features(bars, START, end, benchmark="BTC-USDT").join(signals, on=signals.columns, how="semi")
    measures = {name: f"setup_{name}" for name in strategy.definition.table.measures}
    return (
        labels.rename(measures)
        .with_columns((pl.col("net_return") > 0).cast(pl.Int8).alias("y"), pl.col("uniqueness").alias("weight"))
        .join(features, left_on=["instrument", "signal_ts"], right_on=["instrument", "open_time"])
        .filter("eligible")
    )
