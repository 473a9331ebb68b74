"""Costs by what an order is for: what labels, setups and books of trades share."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.labels.costs import Costs, OrderUse, fill_price, grid_paid, net_return
from crypto_pipeline_tests.oracles.labels import traded

MARKET = (OrderUse.ENTRY, OrderUse.STOP, OrderUse.TIME)
RESTING = (OrderUse.GRID, OrderUse.TAKE_PROFIT)


def test_only_what_is_sent_to_the_market_slips_and_always_to_the_worse() -> None:
    assert {*MARKET, *RESTING} == set(OrderUse)
    assert fill_price(OrderUse.ENTRY, 100.0, 0.001) == pytest.approx(100.1)
    for use in (OrderUse.STOP, OrderUse.TIME):
        assert fill_price(use, 100.0, 0.001) == pytest.approx(99.9)
    for use in RESTING:
        assert fill_price(use, 100.0, 0.001) == 100.0


@pytest.mark.parametrize("use", OrderUse)
def test_it_is_the_same_in_decimal_and_for_arrays(use: OrderUse) -> None:
    exact = fill_price(use, Decimal("0.0000012"), Decimal("0.0035"))
    assert isinstance(exact, Decimal)
    assert float(exact) == pytest.approx(fill_price(use, 0.0000012, 0.0035), rel=1e-12)
    both = fill_price(use, np.array([1.0, 2.0]), np.array([0.001, 0.002]))
    assert both.tolist() == [fill_price(use, 1.0, 0.001), fill_price(use, 2.0, 0.002)]


def test_a_round_trip_written_out() -> None:
    # 1,000 are spent at 100 with 0.15 % slippage: 9.985 units; the fee of 2.60 comes on top.
    paid = fill_price(OrderUse.ENTRY, 100.0, 0.0015)
    assert 1000 / paid == pytest.approx(9.98502247)
    # Out at the target of 108 without slippage, or at the stop of 92 with it; the fee of 0.26 % goes off both.
    assert net_return(paid, 108.0, 0.0026) == pytest.approx(9.98502247 * 108 * 0.9974 / 1002.6 - 1)
    stopped = fill_price(OrderUse.STOP, 92.0, 0.0015)
    assert net_return(paid, stopped, 0.0026) == pytest.approx(9.98502247 * 91.862 * 0.9974 / 1002.6 - 1)


@given(
    st.floats(1e-7, 1e6),
    st.lists(st.floats(0.0005, 0.05), max_size=6),
    st.floats(0.5, 2),
    st.sampled_from(["TP", "SL", "TIME"]),
    st.sampled_from(["large", "mid", "meme"]),
)
def test_a_grid_costs_what_its_orders_cost(
    first: float, steps: list[float], out: float, outcome: str, tier: str
) -> None:
    prices = first * np.cumprod([1.0, *(1 - step for step in steps)])
    average = len(prices) / np.sum(1 / prices)
    costs = Costs.model_validate({})
    slippage = costs.slippage(tier)
    use = {"TP": OrderUse.TAKE_PROFIT, "SL": OrderUse.STOP, "TIME": OrderUse.TIME}[outcome]
    ours = net_return(
        grid_paid(first, average, len(prices), slippage), fill_price(use, first * out, slippage), costs.fee
    )
    theirs = traded(prices.tolist(), outcome, first * out, costs.model_dump(), tier)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    if len(prices) == 1:  # nothing but the entry: to the last bit
        assert grid_paid(first, first, 1, slippage) == pytest.approx(first * (1 + slippage), rel=3e-16)
