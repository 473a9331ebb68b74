"""CPU per message of reading live streams: our parsers against cryptofeed (PyPI) on the same recorded frames, one run.

Run: python bench/parse_streams.py [--data ../shared/data] [--cryptofeed PYTHON] [--repeat 5] [--before PYTHON]
     python bench/parse_streams.py --socket [--before PYTHON]

``--socket`` measures only the whole client, from a real socket to events, against a server that sends as fast as it is
read. ``--before`` names the interpreter of an environment in which another version of the package is installed: the two
take turns.

Without ``--cryptofeed`` a throwaway virtual environment is made for it, so that its pins do not touch ours. Each side
is a process of its own; they take turns. Both make a typed object of every trade and bar and hand it on: cryptofeed to
its callback, ours to the loop that reads the events. cryptofeed keeps prices as Decimal, ours are the doubles that are
stored; both are compared trade by trade. cryptofeed's Binance feed does not know ``@trade``, so the recorded trades are
restated as ``@aggTrade``, for both sides alike; its Coinbase feed speaks another API than the one recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import machine, table

from crypto_pipeline.venues import LiveBar, LiveTrade
from crypto_pipeline.venues.binance.stream import BinanceFrames
from crypto_pipeline.venues.client.frame_parser import FrameParser
from crypto_pipeline.venues.coinbase.stream import CoinbaseFrames
from crypto_pipeline.venues.kraken.stream_v1 import KrakenV1Frames
from crypto_pipeline.venues.stream_protocol import Event

Pairs = list[tuple[str, str]]
Row = list[object]
NKN = [("NKN-USDT", "NKNUSDT"), ("LRC-BTC", "LRCBTC")]
PAIRS = "WAVES/EUR XMR/USD KSM/XBT GRT/ETH SC/EUR ETH/CHF OCEAN/XBT OMG/USD XBT/CHF ADA/XBT".split()  # noqa: SIM905
KRAKEN = [(pair.replace("XBT", "BTC").replace("/", "-"), pair) for pair in PAIRS]

THEIRS = """
import asyncio, json, logging, sys, time
logging.disable(logging.CRITICAL)
from cryptofeed.symbols import Symbols
from cryptofeed.defines import TRADES, CANDLES
from cryptofeed.exchanges import Binance, Kraken
job = json.load(open(sys.argv[1]))
kind = {"binance": Binance, "kraken": Kraken}[job["venue"]]
Symbols.set(kind.id, {name: symbol for name, symbol in job["symbols"]}, {})
seen = []
async def trade(t, received): seen.append((str(t.id), float(t.price), float(t.amount), t.side == "buy"))
async def candle(c, received): seen.append((c.symbol, float(c.close), c.trades))
async def count(x, received): seen.append(x)
def feed(on_trade, on_candle):
    channels = [TRADES, CANDLES] if job["venue"] == "binance" else [TRADES]
    return kind(symbols=[name for name, _ in job["symbols"]], channels=channels, candle_closed_only=False,
                callbacks={TRADES: on_trade, CANDLES: on_candle})
async def run(feed):
    for frame in job["frames"]:
        await feed.message_handler(frame, None, 0.0)
asyncio.run(run(feed(trade, candle)))
values, times = list(seen), []
one = feed(count, count)
for _ in range(job["repeat"]):
    seen.clear()
    begun = time.process_time()
    asyncio.run(run(one))
    times.append(time.process_time() - begun)
print(json.dumps({"values": values, "times": times}))
"""


def received(path: Path) -> list[str]:
    """The messages of a recorded session."""
    with gzip.open(path, "rt") as lines:
        return [line.split(" ", 1)[1].strip() for line in lines if line[0].isdigit()]


def restated(frame: str) -> str:
    """A recorded ``@trade`` as an ``@aggTrade`` of this one trade."""
    frame = frame.replace("@trade", "@aggTrade").replace('"e":"trade"', '"e":"aggTrade"')
    return re.sub(r'"t":(\d+),("p":"[^"]*","q":"[^"]*",)', r'"a":\1,\2"f":\1,"l":\1,', frame)


def own(make: Callable[[], FrameParser], frames: list[str], repeat: int) -> tuple[list[Event], list[float]]:
    """Events of the frames, and CPU seconds of each further pass."""

    async def run(parser: FrameParser, seen: list[Event]) -> None:
        for frame in frames:
            seen.extend(parser.parse(frame))

    values: list[Event] = []
    asyncio.run(run(make(), values))
    times = []
    for _ in range(repeat):
        seen: list[Event] = []
        parser = make()
        begun = time.process_time()
        asyncio.run(run(parser, seen))
        times.append(time.process_time() - begun)
    return values, times


def comparable(event: Event, with_ids: bool) -> tuple[Any, ...] | None:
    if isinstance(event, LiveTrade):
        return (str(event.trade_id) if with_ids else "None", event.price, event.quantity, event.taker_buy)
    return (event.instrument, event.close, event.trade_count) if isinstance(event, LiveBar) else None


def against(python: Path, venue: str, symbols: list[tuple[str, str]], frames: list[str], repeat: int) -> Any:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"venue": venue, "symbols": symbols, "frames": frames, "repeat": repeat}, file)
        file.flush()
        done = subprocess.run([python, "-c", THEIRS, file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cryptofeed failed: {done.stderr[-800:]}")
    return json.loads(done.stdout)


def compare(
    python: Path, name: str, venue: str, symbols: list[tuple[str, str]], make: Callable[[], FrameParser],
    frames: list[str], repeat: int,
) -> list[object]:  # fmt: skip
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeat):
        answer = against(python, venue, symbols, frames, 3)
        values, times = own(make, frames, 3)
        ours += times
        theirs += answer["times"]
        said = [found for event in values if (found := comparable(event, venue == "binance"))]
        assert said == [tuple(value) for value in answer["values"]], "the two do not say the same"
    mine, other = (statistics.median(times) / len(frames) * 1e6 for times in (ours, theirs))
    return [name, f"{len(frames):,}", f"{len(said):,}", f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.1f} ×"]


SERVE = """
import asyncio, sys
from aiohttp import web
from crypto_pipeline.replay.wire.frames import text_frame
frames = open(sys.argv[1]).read().splitlines()
body = b"".join(text_frame(frame.encode()) for frame in frames)
async def serve(request):
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    for _ in range(int(sys.argv[2])):
        for at in range(0, len(body), 1 << 16):
            request.transport.write(body[at:at + (1 << 16)])
            while request.transport.get_write_buffer_size() > 1 << 20:
                await asyncio.sleep(0.001)
    while request.transport.get_write_buffer_size():
        await asyncio.sleep(0.001)
    await socket.close()
    return socket
async def main():
    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


READ = """
import asyncio, sys, time
from crypto_pipeline.venues import BinanceStream, StreamPlan
async def main():
    venue = BinanceStream(sys.argv[1])
    connection = await venue.connect(StreamPlan([("BTC-USDT", "BTCUSDT")]))
    count, begun = 0, None
    try:
        async for events in connection.events():
            if begun is None:
                begun, cpu = time.perf_counter(), time.process_time()
            count += len(events)
    except Exception as end:
        if "1000" not in str(end):
            raise
    print(count, time.perf_counter() - begun, time.process_time() - cpu)
    await venue.close()
asyncio.run(main())
"""


def over_a_socket(frames: list[str], times: int, pythons: dict[str, Path], repeat: int) -> list[Row]:
    """The whole client: socket, handshake, frames, parser, one list of events a frame; each reader is a process."""
    measured: dict[str, list[tuple[int, float, float]]] = {name: [] for name in pythons}
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\n".join(frames))
        file.flush()
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, file.name, str(times)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = f"ws://127.0.0.1:{int(server.stdout.readline())}"
            for _ in range(repeat):
                for name, python in pythons.items():
                    done = subprocess.run([python, "-c", READ, url], capture_output=True, text=True, check=True)
                    count, wall, cpu = done.stdout.split()
                    measured[name].append((int(count), float(wall), float(cpu)))
        finally:
            server.terminate()
            server.wait(10)
    rows: list[Row] = []
    for name, passes in measured.items():
        wall, cpu = (statistics.median(one[place] / one[0] for one in passes) for place in (1, 2))
        rows.append([name, f"{passes[0][0]:,}", f"{1 / wall:,.0f}", f"{1 / cpu:,.0f}", f"{cpu * 1e6:.1f}"])
    return rows


@contextmanager
def cryptofeed(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="cryptofeed-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin/python")
        subprocess.run([python, "-m", "pip", "install", "-q", "cryptofeed"], check=True)
        yield python


def compare_parsers(given: argparse.Namespace, sessions: list[list[str]], trades: list[str]) -> None:
    captures = given.data / "captures"
    mixed = [frame for frame in received(captures / "binance/BINANCE.ws.1.0.gz") if re.search("@(agg|kline)", frame)]
    kraken = received(captures / "kraken/KRAKEN.ws.48.0.gz")
    only = [frame for frame in kraken if frame.startswith("[")]
    coinbase = received(captures / "coinbase/COINBASE.ws.28.0.gz")
    bitcoin = [("BTC-USDT", "BTCUSDT")]
    with cryptofeed(given.cryptofeed) as python:
        asked = "import importlib.metadata as m; print(m.version('cryptofeed'))"
        version = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()

        def row(name: str, venue: str, symbols: Pairs, kind: Callable[[Pairs], FrameParser], frames: list[str]) -> Row:
            return compare(python, name, venue, symbols, lambda: kind(symbols), frames, given.repeat)

        table(
            ["recorded frames", "frames", "events", "ours, µs CPU", f"cryptofeed {version}, µs CPU", "faster"],
            [
                row("Binance, trades", "binance", bitcoin, BinanceFrames, trades),
                row("Binance, trades and bars × 4,000", "binance", NKN, BinanceFrames, mixed * 4000),
                row("Kraken v1, whole session × 200", "kraken", KRAKEN, KrakenV1Frames, kraken * 200),
                row("Kraken v1, trades × 2,000", "kraken", KRAKEN, KrakenV1Frames, only * 2000),
            ],
        )
    products = sorted({json.loads(frame)["product_id"] for frame in coinbase if '"last_match"' in frame})
    matches = [frame for frame in coinbase if '"match"' in frame]
    alone = {
        "Binance, whole sessions (trades, book ticker, depth)": (
            lambda: BinanceFrames(bitcoin),
            [*sessions[0], *sessions[1]],
        ),
        "Coinbase, matches × 200": (lambda: CoinbaseFrames([(name, name) for name in products]), matches * 200),
        "Coinbase, whole session": (lambda: CoinbaseFrames([(name, name) for name in products]), coinbase),
    }
    print()
    rows = []
    for name, (make, frames) in alone.items():
        _, times = own(make, frames, given.repeat)
        rows.append([name, f"{len(frames):,}", f"{statistics.median(times) / len(frames) * 1e6:.2f}"])
    table(["ours alone", "frames", "µs CPU a frame"], rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    options.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    options.add_argument("--cryptofeed", type=Path)
    options.add_argument("--repeat", type=int, default=5)
    options.add_argument("--socket", action="store_true")
    options.add_argument("--before", type=Path)
    given = options.parse_args()
    captures = given.data / "captures"
    sessions = [received(captures / f"binance_spot/btcusdt_{day}.gz") for day in ("20240808", "20240809")]
    trades = [restated(frame) for session in sessions for frame in session if "@trade" in frame]
    print(machine())
    pythons = {"this version": Path(sys.executable)} | ({"before": given.before} if given.before else {})
    if not given.socket:
        compare_parsers(given, sessions, trades)
    print()
    head = ["socket → events", "events", "events/s", "events/s of processor", "µs CPU an event"]
    table(head, over_a_socket(trades, 10, pythons, given.repeat))


if __name__ == "__main__":
    main()
