"""Trades: seeded by time, paged by id, with the ids on either side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crypto_pipeline.market.bars import TRADE_SCHEMA
from crypto_pipeline.venues import BinanceSpot
from crypto_pipeline_tests.builders.scripted_binance import ScriptedVenue, ms, truncated

START = datetime(2026, 1, 5, tzinfo=UTC)
END = START + timedelta(hours=1)
TRADES = "/api/v3/aggTrades"
Make = Callable[..., BinanceSpot]


def trade(number: int, at: int) -> dict[str, Any]:
    return {"a": number, "p": "1.5", "q": "2", "f": number * 2, "l": number * 2 + 1, "T": at, "m": number % 2 == 0}


async def test_pages_by_id_through_crowded_milliseconds(server: ScriptedVenue, make: Make) -> None:
    # 2,600 trades in three milliseconds: any paging by time loses or repeats some
    server.trades = [trade(500 + number, ms(START) - 5 + number // 900) for number in range(5000)]
    inside = [row["a"] for row in server.trades if row["T"] >= ms(START)]
    server.script(TRADES, truncated)
    found = await make().trades("A-B", "AB", START, END)
    assert dict(found.trades.schema) == TRADE_SCHEMA
    assert found.trades["trade_id"].to_list() == inside
    assert (found.id_before, found.id_after) == (inside[0] - 1, None)
    assert found.trades.row(0, named=True)["taker_side"] == ("sell" if inside[0] % 2 == 0 else "buy")
    assert [("startTime" in query) for path, query in server.requests if path == TRADES].count(True) == 2


async def test_ids_on_either_side(server: ScriptedVenue, make: Make) -> None:
    server.trades = [trade(number, ms(START) + (number - 10) * 600_000) for number in range(30)]
    found = await make().trades("A-B", "AB", START, END)
    assert found.trades["trade_id"].to_list() == list(range(10, 16))
    assert (found.id_before, found.id_after) == (9, 16)
    assert (found.single_before, found.single_after) == (19, 32)


@pytest.mark.parametrize(
    ("offsets", "before", "after"),
    [([], None, None), ([-60_000], 0, None), ([-60_000, 7_200_000], 0, 1), ([7_200_000], None, 0)],
)
async def test_silence_is_proved_by_neighbours(
    server: ScriptedVenue, make: Make, offsets: list[int], before: int | None, after: int | None
) -> None:
    server.trades = [trade(number, ms(START) + offset) for number, offset in enumerate(offsets)]
    found = await make().trades("A-B", "AB", START, END)
    assert found.trades.is_empty()
    assert (found.id_before, found.id_after) == (before, after)
