"""The user data stream of the replay exchange, as ccxt.pro reads it, also where its events come twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.replay.server.accounts.desk import DEFAULT_KEY, DEFAULT_SECRET
from crypto_pipeline.venues.ccxt.package import streaming_class


@pytest.mark.parametrize("twice", [False, True])
async def test_ccxt_pro_is_told_of_an_order_until_it_is_filled(twice: bool) -> None:
    options = {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}}
    keys = {"apiKey": DEFAULT_KEY, "secret": DEFAULT_SECRET, "enableRateLimit": False}
    now = datetime(2026, 11, 21, 9, 30, 30, tzinfo=UTC)
    async with ReplayExchange(now=now, speed=1, weight_limit=0, instruments=1) as exchange:
        if twice:
            exchange.control({"kind": "user_events", "manner": "duplicate"})
        client = streaming_class("binance")(keys | {"options": options | {"adjustForTimeDifference": True}})
        client.urls["api"]["public"] = client.urls["api"]["private"] = f"{exchange.url}/api/v3"
        client.urls["api"]["ws"]["ws-api"]["spot"] = f"{exchange.ws_url}/ws-api/v3"
        try:
            await client.load_markets()
            await client.authenticate({"type": "spot"})
            await client.create_order("BTC/USDT", "market", "buy", 0.01, None, {"newClientOrderId": "cptest"})
            for _ in range(50):
                if client.myTrades and any(one["status"] == "closed" for one in client.orders):
                    break
                with suppress(TimeoutError):  # it may have been told before it waits
                    await asyncio.wait_for(client.watch_orders("BTC/USDT"), 0.2)
            assert [(one["clientOrderId"], one["filled"]) for one in client.orders] == [("cptest", 0.01)]
            assert {trade["id"] for trade in client.myTrades} == {"1"}
        finally:
            await client.close()
