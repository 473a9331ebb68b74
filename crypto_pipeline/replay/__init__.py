"""An exchange of our own that speaks Binance's REST and archive over real HTTP.

Here belongs what a venue would do, and the truth behind it: a market generated from a seed or read from recordings,
the endpoints, weights, error bodies and archive files over it, a clock that can run elsewhere and faster, and faults by
script or on demand. What reads a venue does not belong here: this room knows nothing of `venues`, `store` or `healing`,
makes its bars from trades without the `market` room's roll-up, and so can be the reference those are held against.
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
