"""The replay exchange: a local server with Binance's REST, streams and file archive over real sockets.

The behaviour of a venue and the true market behind it belong here: a market generated from a seed or read from
recordings, request weights, error bodies, archive files, a clock that can be set and run faster, and faults by script
or on demand. Code that reads a venue does not belong here. This package imports nothing of ``venues``, ``store`` or
``healing`` and computes its bars from trades without the roll-up of ``market``, so it is an independent reference.

The server is built on aiohttp, which no other room imports: one port serves REST, control and websockets, and the
transport under a request can be written to directly. Faults need that to send half a frame or to cut a connection.
"""

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.faults.script import Fault, load_faults, parse_faults
from crypto_pipeline.replay.market.generated import GeneratedMarket
from crypto_pipeline.replay.market.recorded import RecordedMarket, recorded_span
from crypto_pipeline.replay.market.tape import Tape
from crypto_pipeline.replay.server.exchange import ReplayExchange, open_market, running_exchange, serve
from crypto_pipeline.replay.wire.connection import StreamRules

__all__ = [
    "Fault",
    "GeneratedMarket",
    "RecordedMarket",
    "ReplayError",
    "ReplayExchange",
    "StreamRules",
    "Tape",
    "VirtualClock",
    "load_faults",
    "open_market",
    "parse_faults",
    "recorded_span",
    "running_exchange",
    "serve",
]
