"""Events on simulated walks, fast enough for hundreds of histories: inputs, triple barriers and costs in numpy.

Prices are random walks of hourly bars with a common market and changing volatility. ``signal`` adds a drift to them
that some inputs show with noise; 0 leaves walks that nothing foretells. Inputs have names of real features, but are
computed here; what the product computes on bars is not the subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Ints
from crypto_pipeline.features.definitions.registry import NAMES
from crypto_pipeline.models.settings import BoostingSettings, TrainingSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3_600_000
_COST = 0.0068
_TIERS = ("large", "mid", "meme")
#: Bars of history before the first event, and until a label ends by time.
_WARM_UP, _HORIZON = 168, 72
_SHOWN = ("volume_z_96", "body", "signed_volume_16", "bollinger_z")
_WINDOWS = {"lr_1": 1, "lr_4": 4, "lr_16": 16, "lr_96": 96}


@dataclass(frozen=True, slots=True)
class Market:
    """What is simulated: how many instruments and days, the drift that inputs show, and how often a setup occurs."""

    instruments: int = 24
    days: int = 180
    signal: float = 0.0
    seed: int = 0
    #: Share of bars that are setups, and of these that the default set finds too.
    density: float = 0.05
    default_share: float = 0.3
    barrier: float = 0.03
    #: Deviation of the step that all share; an instrument's own is 0.7.
    common: float = 0.7
    #: Further inputs that are noise.
    noise: int = 0


def events(market: Market) -> pl.DataFrame:
    """The events of ``market`` in the form that ``training.train`` takes; see ``inputs_of`` for their inputs."""
    rng = np.random.default_rng([77, market.seed])
    bars = market.days * 24 + _WARM_UP + _HORIZON + 1
    shape = (market.instruments, bars)
    hidden = _autoregressive(rng, shape, 0.97)
    volatility = 0.008 * np.exp(0.4 * _autoregressive(rng, shape, 0.99))
    common = rng.standard_normal(bars) * market.common
    steps = volatility * (common + 0.7 * rng.standard_normal(shape) + market.signal * hidden)
    price = np.cumsum(steps, axis=1)
    places = np.sort(_setups(rng, market, bars))
    number, place = np.divmod(places, bars)
    held, gross = _labels(price, number, place, market.barrier)
    inputs = _inputs(rng, market, (price, hidden, volatility), (number, place))
    return _frame(rng, market, (number, place, held, gross), inputs)


def inputs_of(market: Market) -> tuple[str, ...]:
    """Names of the inputs of its events, all of them inputs of every strategy."""
    noise = [name for name in NAMES if name not in (*_WINDOWS, *_SHOWN, "rv_96", "btc_lr_96")][: market.noise]
    return (*_WINDOWS, "rv_96", "btc_lr_96", *_SHOWN, *noise, "tier")


def settings_of(market: Market, rounds: int = 60) -> TrainingSettings:
    """Settings that train on such events in about a second."""
    boosting = BoostingSettings(rounds=rounds, threads=1, learning_rate=0.06)
    return TrainingSettings(boosting=boosting, inputs=inputs_of(market))


def _autoregressive(rng: np.random.Generator, shape: tuple[int, int], keep: float) -> Floats:
    """Unit-variance series that keep a share of themselves from bar to bar."""
    from scipy.signal import lfilter

    found: Floats = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.standard_normal(shape), axis=1)
    return found


def _setups(rng: np.random.Generator, market: Market, bars: int) -> Ints:
    """Numbers (instrument x bars) of the bars with a setup; they cluster in the same hours across the market."""
    busy = rng.random(bars) < 0.4
    chance = market.density * np.where(busy, 2.0, 1 / 3)
    chance[:_WARM_UP] = chance[bars - _HORIZON - 1 :] = 0
    return np.flatnonzero(rng.random((market.instruments, bars)) < chance)


def _labels(price: Floats, number: Ints, place: Ints, barrier: float) -> tuple[Ints, Floats]:
    """Bars held and gross return: out at either barrier, at the last close after the horizon."""
    held, gross = np.full(len(place), _HORIZON), np.zeros(len(place))
    open_ = np.ones(len(place), bool)
    for step in range(1, _HORIZON + 1):
        change = np.expm1(price[number, place + step] - price[number, place])
        out = open_ & ((np.abs(change) >= barrier) | (step == _HORIZON))
        held[out], gross[out] = step, np.clip(change[out], -1.3 * barrier, 1.3 * barrier)
        open_ &= ~out
    return held, gross


def _inputs(
    rng: np.random.Generator, market: Market, series: tuple[Floats, ...], at: tuple[Ints, Ints]
) -> dict[str, Floats]:
    price, hidden, volatility = series
    number, place = at
    found = {name: price[number, place] - price[number, place - width] for name, width in _WINDOWS.items()}
    found["rv_96"] = volatility[number, place]
    mean = price.mean(axis=0)
    found["btc_lr_96"] = mean[place] - mean[place - 96]
    for name in _SHOWN:
        found[name] = hidden[number, place] + 0.8 * rng.standard_normal(len(place))
    for name in inputs_of(market):
        if name not in found and name != "tier":
            found[name] = rng.standard_normal(len(place))
    gone = rng.random(len(place)) < 0.01
    found["lr_96"] = np.where(gone, np.nan, found["lr_96"])
    return found


def _frame(
    rng: np.random.Generator, market: Market, rows: tuple[Ints, Ints, Ints, Floats], inputs: dict[str, Floats]
) -> pl.DataFrame:
    number, place, held, gross = rows
    net = gross - _COST
    signal = int(START.timestamp() * 1000) + place * HOUR
    frame = pl.DataFrame(
        {
            "instrument": pl.Series([f"C{each:03d}-USDT" for each in range(market.instruments)]).gather(number),
            "signal_ts": signal,
            "available_at": signal + 900_000,
            "entry_ts": signal + 900_000,
            "label_end_ts": signal + 900_000 + held * HOUR,
            "y": (net > 0).astype(np.int8),
            "weight": 1 / (1 + rng.random(len(place))),
            "net_return": net,
            "tier": pl.Series(_TIERS).gather(number % 3),
            "is_default": rng.random(len(place)) < market.default_share,
            **inputs,
        }
    )
    times = pl.col("signal_ts", "available_at", "entry_ts", "label_end_ts").cast(pl.Datetime("ms", "UTC"))
    return frame.with_columns(times, pl.col(pl.Float64).fill_nan(None)).sort("available_at", "instrument")
