"""The replay exchange: a server of our own that speaks Binance's REST, streams and file archive over real sockets.

Here belongs what a venue does, and the true market behind it: generated from a seed or read from recordings, with
request weights, error bodies, archive files, a clock that can be set and run faster, and faults by script or on demand.
Not here: anything that reads a venue. This room imports nothing of ``venues``, ``store`` or ``healing`` and makes its
bars from trades without the roll-up of ``market``; so it can be the reference that all of them are compared with.

The server is built on aiohttp, which no other room imports: one port serves REST, control and websockets, and the
transport under a request can be written to directly, as faults need that send half a frame or cut a connection.
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
