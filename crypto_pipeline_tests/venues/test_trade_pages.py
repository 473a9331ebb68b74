"""Pages of trades whose times and ids contradict each other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.venues import MalformedAnswer
from crypto_pipeline.venues.binance.parse import parse_trades

DAY_MS = 1_767_571_200_000


def page(times: list[int], ids: list[int] | None = None) -> bytes:
    numbers = ids or list(range(len(times)))
    rows = [
        {"a": number, "p": "1.5", "q": "2", "f": number, "l": number, "T": DAY_MS + ms, "m": True}
        for number, ms in zip(numbers, times, strict=True)
    ]
    return json.dumps(rows).encode()


def test_reversed_ids_are_not_believed() -> None:
    times = [at * 5_000 for at in range(40)]
    with pytest.raises(MalformedAnswer, match="do not rise with their ids"):
        parse_trades(page(times, list(range(40))[::-1]))


@given(st.lists(st.integers(0, 20_000), min_size=5, max_size=60), st.data())
def test_one_wrong_time_costs_one_trade(steps: list[int], data: st.DataObject) -> None:
    times = [100_000 + sum(steps[: at + 1]) for at in range(len(steps))]
    # next to an end nobody can tell which of the two is wrong
    place = data.draw(st.integers(2, len(times) - 3))
    wrong = data.draw(st.sampled_from([0, 500_000_000]))
    spoiled = [wrong if at == place else ms for at, ms in enumerate(times)]
    found = parse_trades(page(spoiled))
    assert [row.trade_id for row in found.rows] == [at for at in range(len(times)) if at != place]
    assert [one.trade_id for one in found.refused] == [place]


def test_trades_of_one_second_may_come_in_any_order() -> None:
    assert len(parse_trades(page([5_300, 5_200, 5_900, 5_100])).rows) == 4
