"""Lists of markets of ccxt's exchanges with rows that are changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web

from crypto_pipeline_tests.builders.scripted_binance import Handler
from crypto_pipeline_tests.venues.contract.ccxt_wires import BitfinexWire, CcxtWire
from crypto_pipeline_tests.venues.contract.server import json_answer

#: Changes the rows of a list of markets.
Change = Callable[[list[Any]], list[Any]]


def listing_with(wire: CcxtWire, change: Change) -> Handler:
    """The true list of markets with its rows changed."""

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = cast(web.Response, wire.answer(request))
        document = json.loads(cast(bytes, answer.body))
        if isinstance(wire, BitfinexWire):
            document[0] = change(document[0])
        elif isinstance(document, dict):
            document["data"] = change(document["data"])
        else:
            document = change(document)
        return json_answer(document, Date=answer.headers["Date"])

    return handler
