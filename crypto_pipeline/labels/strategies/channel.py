"""CHANNEL: the lower edge of a straight channel, bought for the way to the upper one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from crypto_pipeline.arrays.arithmetic import lagged, ratio
from crypto_pipeline.arrays.panel import Floats, Ints, Panel
from crypto_pipeline.arrays.rolling import rolling_max, rolling_min
from crypto_pipeline.features.definitions import indicators
from crypto_pipeline.labels.costs import OrderUse, fill_price, net_return
from crypto_pipeline.labels.strategies.base import (
    DAY,
    Barriers,
    Entries,
    Measures,
    Parameters,
    SetupBars,
    StrategyDefinition,
    TierExits,
    exits_by_tier,
    tier_barriers,
)
from crypto_pipeline.labels.strategies.conditions import above, at_least, at_most, below
from crypto_pipeline.store.research.label_columns import LabelTable


class ChannelParameters(Parameters):
    """The lower edge of a straight channel, bought for the way to the upper one."""

    FORMER_NAMES: ClassVar[Mapping[str, str]] = {
        "width_min": "width_least",
        "width_max": "width_most",
        "position_max": "position_most",
        "day_range_max": "day_range_most",
    }
    horizon: int = Field(288, gt=0, le=2000)
    #: Where the entry price is not between the channel's own stop and target.
    exits: TierExits = exits_by_tier((0.015, 0.02), (0.02, 0.025), (0.025, 0.03))
    window: int = Field(96, ge=10, le=300)
    bands: float = Field(2.0, gt=0, le=5, description="Distance of the bands from the line, in sigma.")
    width_min: float = Field(0.02, gt=0, lt=1, description="Upper band relative to the lower minus 1, at least.")
    width_max: float = Field(0.10, gt=0, lt=1, description="Upper band relative to the lower minus 1, at most.")
    containment: float = Field(0.90, ge=0, le=1, description="Share of the closes between the bands, at least.")
    touches: int = Field(3, ge=0, le=50, description="Touches of each band, at least.")
    touch_within: float = Field(0.25, gt=0, le=2, description="How near to a band is a touch, in sigma.")
    touch_apart: int = Field(4, ge=1, le=96, description="Bars between two touches, at least.")
    position_max: float = Field(0.15, gt=0, lt=1, description="Place of the close between the bands, at most.")
    day_range_max: float = Field(0.08, gt=0, description="Range of 24 hours, less than this.")
    target: float = Field(0.85, gt=0, le=2, description="Place of the take profit between the bands.")
    stop_below: float = Field(0.01, gt=0, lt=0.5, description="The stop is this far below the lower band.")
    reward_to_risk: float = Field(1.5, ge=0, description="Net gain at the target to net loss at the stop, at least.")


def measures(bars: SetupBars, parameters: ChannelParameters) -> Measures:
    """The channel that ends at each bar: ``slope`` (of ln price, per bar), ``line_end`` (ln price), ``sigma``,
    ``width``, ``position``; ``rise`` (of the close) and ``day_range``.
    """
    p, panel = parameters, bars.panel
    close = panel.close
    y = np.log(close)
    line = indicators.ols(y, p.window)
    half = p.bands * line.sigma
    before = lagged(close)
    return {
        "slope": line.slope,
        "line_end": line.end,
        "sigma": line.sigma,
        "width": np.expm1(2 * half),
        "position": ratio(y - line.end + half, 2 * half),
        "rise": ratio(close - before, before),
        "day_range": ratio(rolling_max(panel.high, DAY), rolling_min(panel.low, DAY)) - 1,
    }


def measures_at(bars: SetupBars, parameters: ChannelParameters, measured: Measures, rows: Ints) -> Measures:
    """``containment``, ``touches_upper``, ``touches_lower``, ``reward_to_risk``, the prices ``target`` and
    ``channel_stop``, and ``stop_distance`` (of the close), all as at the signal bar's close.
    """
    p = parameters
    slope, end, sigma = (bars.at(measured[name], rows) for name in ("slope", "line_end", "sigma"))
    half = p.bands * sigma
    lower, band = end - half, 2 * half
    target, stop = np.exp(lower + p.target * band), np.exp(lower) * (1 - p.stop_below)
    slippage = np.array([p.costs.slippage(tier) for tier in bars.tiers])[rows // bars.panel.width]
    price = bars.at(bars.panel.close, rows)
    paid = fill_price(OrderUse.ENTRY, price, slippage)
    reward = net_return(paid, target, p.costs.fee)
    return {
        **_shape(bars.panel, rows, np.column_stack((slope, end, half, p.touch_within * sigma)), p),
        "target": target,
        "channel_stop": stop,
        "reward_to_risk": ratio(reward, -net_return(paid, fill_price(OrderUse.STOP, stop, slippage), p.costs.fee)),
        "stop_distance": ratio(price - stop, price),
    }


def _shape(panel: Panel, rows: Ints, lines: Floats, p: ChannelParameters) -> Measures:
    """Containment and touches of the windows that end at ``rows``. ``lines``: see ``channel_shape``.

    A close is contained that is not beyond a band. A bar touches a band when its range, from low to high, comes within
    ``touch_within`` sigma of it.
    """
    from crypto_pipeline.labels.kernels import channel_shape  # late: it imports numba, which takes half a second

    close, high, low = (np.log(prices).ravel() for prices in (panel.close, panel.high, panel.low))
    shape = np.full((len(rows), 3), np.nan)
    whole = ~np.isnan(lines[:, 1])
    part = np.zeros((int(whole.sum()), 3))
    channel_shape(close, high, low, rows[whole], lines[whole], p.window, p.touch_apart, part)
    shape[whole] = part
    return {"containment": shape[:, 0], "touches_upper": shape[:, 1], "touches_lower": shape[:, 2]}


CONDITIONS = (
    at_least("width_min", lambda p: p.width_min, "Upper band relative to the lower, minus 1, at least.", "width"),
    at_most("width_max", lambda p: p.width_max, "Upper band relative to the lower, minus 1, at most.", "width"),
    at_most("position", lambda p: p.position_max, "Place of the close between the bands, 0 to 1."),
    above("rise", lambda p: 0.0, "The close relative to the close before, minus 1."),
    below("day_range", lambda p: p.day_range_max, "Highest high of a day relative to its lowest low, minus 1."),
    at_least("containment", lambda p: p.containment, "Share of the closes between the bands."),
    at_least("touches_upper", lambda p: p.touches, "Touches of the upper band."),
    at_least("touches_lower", lambda p: p.touches, "Touches of the lower band."),
    above("stop_distance", lambda p: 0.0, "How far the stop is below the close, relative to it."),
    at_least("reward_to_risk", lambda p: p.reward_to_risk, "Net gain at the target to net loss at the stop."),
)


def barriers(entries: Entries, parameters: ChannelParameters) -> Barriers:
    """The channel's own target and stop, and those of the tier where the entry price is not between them."""
    price, of_tier = entries.price, tier_barriers(entries, parameters)
    stop, target = entries.setups["channel_stop"].to_numpy(), entries.setups["target"].to_numpy()
    fallback = ~((stop < price) & (price < target))
    return replace(
        of_tier,
        stop=np.where(fallback, of_tier.stop, stop),
        take_profit=np.where(fallback, of_tier.take_profit, target),
        fallback=fallback,
    )


CHANNEL = StrategyDefinition(
    about="The lower edge of a straight channel, bought for the way to the upper one.",
    parameters=ChannelParameters,
    table=LabelTable.from_text(
        "channel",
        """
            slope           float  Slope of the channel, of ln price per bar.
            sigma           float  Deviation of ln price from its middle.
            width           float  Upper edge relative to the lower, minus 1.
            containment     float  Share of the closes inside.
            touches_upper   int    Touches of the upper edge.
            touches_lower   int    Touches of the lower edge.
            position        float  Place of the close between the edges, 0 to 1.
            day_range       float  Highest high of a day relative to its lowest low, minus 1.
            reward_to_risk  float  Net gain at the target relative to net loss at the stop.
            fallback        bool   Whether the channel's own barriers had to be replaced by those of the tier.
        """,
    ),
    measures=measures,
    measures_at=measures_at,
    conditions=CONDITIONS,
    barriers=barriers,
    known_after_entry=frozenset({"fallback"}),
    loose={"touches": 2, "reward_to_risk": 1.0},
)
