"""Scans say what labels say, bar by bar, and nothing that comes later changes them."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.compute import SetupContext, find_setups
from crypto_pipeline.labels.setups import conditions_of
from crypto_pipeline.labels.strategies.base import WARM_UP
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe, roll_up_all
from crypto_pipeline.trading.scanning.scan import SCAN_SCHEMA, MarketBars, ScanDecision, Scans, scan
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.labels.comparison import SETS

DAYS = 14
NAMES = ("ARB-USDT", "OP-USDT")
TIERS = {"ARB-USDT": "mid", "OP-USDT": "meme"}


class Market:
    """Two instruments with holes; its bars can be cut at a time, as a live pass sees them."""

    def __init__(self) -> None:
        rolled = [roll_up_all(minutes(name, DAYS, place + 1)) for place, name in enumerate(NAMES)]
        self.end = START + timedelta(days=DAYS)
        self.quarters = pl.concat([one[Timeframe.M15] for one in rolled]).sample(fraction=0.995, seed=4)
        self.hours = pl.concat([one[Timeframe.H1] for one in rolled])
        self.benchmark = roll_up_all(minutes("BTC-USDT", DAYS, 100))[Timeframe.M15]

    def panel(self, bars: pl.DataFrame, names: tuple[str, ...], bars_kept: int, timeframe: Timeframe) -> Panel:
        end = START + Timeframe.M15.delta * bars_kept
        kept = bars.filter(pl.col("open_time") + timeframe.delta <= end)
        return Panel.from_bars(kept, names, START, end, timeframe)

    def parts(self, bars_kept: int) -> tuple[Panel, SetupContext]:
        leading = self.panel(self.benchmark, ("BTC-USDT",), bars_kept, Timeframe.M15)
        hours = self.panel(self.hours, NAMES, bars_kept, Timeframe.H1)
        return self.panel(self.quarters, NAMES, bars_kept, Timeframe.M15), SetupContext(halts(leading.close[0]), hours)

    def scan(self, strategy: Strategy, set_name: str, first: int = 0, bars_kept: int = DAYS * 96) -> Scans:
        panel, context = self.parts(bars_kept)
        states = MarketBars.unknown(panel.width)
        return scan(strategy, panel, context, SETS[set_name][strategy], list(TIERS.values()), states, first)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market()


@pytest.mark.parametrize(("strategy", "set_name"), [*((one, "wide") for one in Strategy), (Strategy.DCA, "dense")])
def test_takes_are_the_setups_that_labels_find(market: Market, strategy: Strategy, set_name: str) -> None:
    scans, (panel, context) = market.scan(strategy, set_name), market.parts(DAYS * 96)
    found = find_setups(strategy, panel, context, SETS[set_name][strategy], TIERS, newest=True)
    assert found.height > 5
    assert scans.setups.filter(pl.Series(_entered(panel, scans.setups))).equals(found)
    assert dict(scans.rows.schema) == SCAN_SCHEMA
    takes = scans.rows.filter(pl.col("decision") == "TAKE")
    assert takes["confidence_score"].to_list() == [1.0] * scans.setups.height
    assert set(takes["reason"]) == {"setup"}
    for text, measured in zip(takes["metadata"], _in_order(panel, scans.setups).iter_rows(named=True), strict=True):
        known = json.loads(text)
        assert set(strategy.definition.table.measures) - strategy.definition.known_after_entry <= set(known)
        assert known == {name: measured[name] for name in known}


def _entered(panel: Panel, setups: pl.DataFrame) -> list[bool]:
    """Whether the next bar is there; of the last bar it is still to come."""
    pairs = setups.select("number", "place").iter_rows()
    return [place + 1 == panel.width or not np.isnan(panel.open[number, place + 1]) for number, place in pairs]


def _in_order(panel: Panel, setups: pl.DataFrame) -> pl.DataFrame:
    return setups.with_columns(name=pl.Series(panel.names).gather(setups["number"])).sort("place", "name")


def test_a_near_miss_fails_one_condition_and_names_it(market: Market) -> None:
    parameters = SETS["default"][Strategy.SWING]
    conditions = conditions_of(Strategy.SWING.definition, parameters)
    rows = market.scan(Strategy.SWING, "default").rows.filter(pl.col("failed").is_not_null())
    seen = set()
    for decision, reason, failed, values in rows.select("decision", "reason", "failed", "values").iter_rows():
        pairs = zip(conditions, values, strict=True)
        wrong = [one.name for one, value in pairs if not one.met(np.array(value), parameters)]
        assert failed == sum(1 << place for place, one in enumerate(conditions) if one.name in wrong)
        assert decision == {0: ScanDecision.TAKE, 1: ScanDecision.NEAR_MISS}.get(len(wrong), ScanDecision.SKIP)
        assert reason == {0: "setup", 1: wrong[0] if wrong else ""}.get(len(wrong), "conditions")
        seen.add(decision)
    assert {"NEAR_MISS", "SKIP"} <= seen


@pytest.mark.parametrize("strategy", Strategy)
def test_a_bar_is_scanned_alike_when_it_closes_and_long_after(market: Market, strategy: Strategy) -> None:
    """Of DENSE nearly every bar is a candidate, so spacing decides; bars without a next bar are among them."""
    set_name = "dense" if strategy is Strategy.DCA else "wide"
    whole = market.scan(strategy, set_name).rows
    holes = np.flatnonzero(np.isnan(market.parts(DAYS * 96)[0].close).any(axis=0))
    before_holes = holes[holes > WARM_UP] - 1
    for place in sorted({WARM_UP, WARM_UP + 1, *range(700, 1344, 61), *before_holes[:6].tolist()}):
        then = market.scan(strategy, set_name, first=place, bars_kept=place + 1).rows
        assert then.height == 2
        moment = START + Timeframe.M15.delta * place
        assert then.equals(whole.filter(pl.col("signal_ts") == moment), null_equal=True), moment


def test_a_missing_bar_and_the_warm_up_are_skipped_by_name(market: Market) -> None:
    rows = market.scan(Strategy.DCA, "default").rows
    panel, _ = market.parts(DAYS * 96)
    counts = dict(rows.group_by("reason").len().iter_rows())
    assert counts["bar_missing"] == int(np.isnan(panel.close).sum()) > 0
    assert set(rows.filter(pl.col("signal_ts") < START + WARM_UP * Timeframe.M15.delta)["reason"]) == {
        "bar_missing",
        "warm_up",
    }
    unjudged = rows.filter(pl.col("reason").is_in(["bar_missing", "warm_up"]))
    columns = ("failed", "values", "confidence_score", "metadata")
    assert unjudged.select(columns).null_count().row(0) == (unjudged.height,) * 4
