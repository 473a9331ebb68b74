"""Starts the exchange, in tests on a free port, or as a program that serves until a signal."""

from __future__ import annotations

import asyncio
import errno
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from crypto_pipeline.addresses import base_url
from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.faults.script import load_faults, parse_faults
from crypto_pipeline.replay.fred.recorded import macro_folder
from crypto_pipeline.replay.fred.rest import FredHandlers
from crypto_pipeline.replay.market.generated import GeneratedMarket
from crypto_pipeline.replay.market.intense import IntenseMarket
from crypto_pipeline.replay.market.recorded import RecordedMarket
from crypto_pipeline.replay.market.tape import Tape
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.recorded import RecordedStocks
from crypto_pipeline.replay.massive.server import MassiveServer
from crypto_pipeline.replay.massive.tape import StockTape
from crypto_pipeline.replay.server.accounts.desk import AccountDesk, ApiKey
from crypto_pipeline.replay.server.app import ReplayServer
from crypto_pipeline.replay.wire.connection import StreamRules
from crypto_pipeline.web_guard import allowed_names

#: A stock market, or what makes one when it is first asked for.
Stocks = StockTape | Callable[[], StockTape]
Instruments = str | int | Iterable[str] | None


def open_market(
    source: str | Path = "generated",
    *,
    seed: int = 1,
    instruments: Instruments = None,
    shift_to_now: bool = False,
    now: datetime | None = None,
    intensity: int = 1,
) -> Tape:
    """The market that ``source`` names: ``generated``, or a folder of recorded files.

    ``intensity`` above 1 multiplies the trades of a generated market, for load tests; the tape then differs. Raises
    ReplayError for a bad source.
    """
    if str(source) == "generated":
        if intensity != 1:
            return IntenseMarket(seed, instruments, intensity)
        return GeneratedMarket(seed, instruments)
    if intensity != 1:
        raise ReplayError(f"intensity {intensity}: only a generated market can be made busier; use 1 for {source}")
    return RecordedMarket(Path(source).expanduser(), (now or datetime.now(UTC)) if shift_to_now else None)


def _captures(given: Path | None, source: str | Path | Tape) -> Path | None:
    """The folder of recorded sessions: ``given``, or the one beside recorded bars; None if there is none."""
    if given is None and isinstance(source, str | Path) and (Path(source) / "captures").is_dir():
        return Path(source) / "captures"
    if given is not None and not given.is_dir():
        raise ReplayError(f"no folder of recorded sessions at {given}: name one that holds <exchange>/<name>.gz")
    return given


def _recorded_macro(source: str | Path | Tape, shifted: bool) -> Path | None:
    """The folder of recorded macro series beside recorded bars, if there is one. Dates of macro series are not moved:
    beside bars that were, they would be years old."""
    folder = Path(source).expanduser() / "macro" / "fred" if isinstance(source, str | Path) else None
    return folder if folder is not None and folder.is_dir() and not shifted else None


def _stock_tape(stocks: StockTape | Path | None, shifted: bool, day: Callable[[], date]) -> Stocks:
    """The given tape, the recorded one of a folder, or a generated one, made when it is first asked for."""
    if not isinstance(stocks, Path):
        return stocks or partial(_generated_stocks, day)
    if shifted:
        raise ReplayError(
            f"stocks recorded in {stocks} keep their dates, by which they have sessions and splits: leave out "
            "--shift-to-now, or the folder of stocks"
        )
    return RecordedStocks(stocks)


def _generated_stocks(day: Callable[[], date]) -> StockTape:
    from crypto_pipeline.replay.massive.generated import default_stocks  # imports calendars, which takes a second

    return default_stocks(day())


def _generated_pairs(day: Callable[[], date]) -> StockTape:
    from crypto_pipeline.replay.massive.pairs import default_pairs

    return default_pairs(day())


class ReplayExchange:
    """An exchange that runs during an ``async with`` block, on a free port unless one is given.

    ``url`` serves REST and archive; ``market`` (also ``tape``) is the true market; ``control`` sets faults.
    ``shifted_at``: the time (UTC) to which ``shift_to_now`` shifted the recording when it was first served.
    It serves FRED's interface too: from the CSV files in ``macro`` (default: ``macro/fred`` of the recording), else
    generated series, to clients with one of ``fred_keys`` (default: any key that is well formed). And Massive's: over
    ``stocks``, a tape or a folder of LEAN's (default: generated ones, whose split, rename and halt lie before the day
    that ``stocks_day`` says when they are first asked for), to clients with one of ``massive_plans`` (default: any key,
    without limits). It takes Binance's signed orders from clients with one of ``api_keys`` (default: ``DEFAULT_KEY``
    with a million USDT). Raises ReplayError for a folder without recordings.
    """

    def __init__(
        self,
        source: str | Path | Tape = "generated",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 1,
        now: datetime | None = None,
        speed: float = 1.0,
        shift_to_now: bool = False,
        shifted_at: datetime | None = None,
        instruments: Instruments = None,
        faults: Sequence[dict[str, Any]] | Path | None = None,
        weight_limit: int = 6000,
        ban_after: int = 20,
        stream_rules: StreamRules | None = None,
        intensity: int = 1,
        captures: Path | None = None,
        token: str | None = None,
        allowed_hosts: str | None = None,
        macro: Path | None = None,
        fred_keys: Iterable[str] | None = None,
        stocks: StockTape | Path | None = None,
        stocks_day: Callable[[], date] | None = None,
        massive_plans: Mapping[str, Plan] | None = None,
        api_keys: Mapping[str, ApiKey] | None = None,
    ) -> None:
        self.clock = VirtualClock(now, speed)
        self.market: Tape = (
            open_market(
                source,
                seed=seed,
                instruments=instruments,
                shift_to_now=shift_to_now,
                now=shifted_at or self.clock.now(),
                intensity=intensity,
            )
            if isinstance(source, str | Path)
            else source
        )
        self.fred = FredHandlers(
            self.clock,
            seed,
            _recorded_macro(source, shift_to_now) if macro is None else macro_folder(macro),
            None if fred_keys is None else frozenset(fred_keys),
            throttled=weight_limit > 0,
        )
        day = stocks_day or (lambda: self.clock.now().date())
        tape = _stock_tape(stocks, shift_to_now, day)
        self.massive = MassiveServer(tape, self.clock, massive_plans, pairs=partial(_generated_pairs, day))
        self.server = ReplayServer(
            self.market,
            self.clock,
            seed=seed,
            weight_limit=weight_limit,
            ban_after=ban_after,
            stream_rules=stream_rules,
            captures=_captures(captures, source),
            token=token,
            names=allowed_names(host, allowed_hosts),
            fred=self.fred,
            massive=self.massive,
            api_keys=api_keys,
        )
        if faults:
            self.server.faults.add(load_faults(faults) if isinstance(faults, Path) else parse_faults(list(faults)))
        self.host, self.port = host, port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Address of REST and archive."""
        return base_url(self.host, self.port)

    @property
    def ws_url(self) -> str:
        """Address of the streams."""
        return base_url(self.host, self.port, "ws")

    @property
    def accounts(self) -> AccountDesk:
        """The accounts that place orders here."""
        return self.server.accounts

    @property
    def tape(self) -> Tape:
        """The true bars and trades."""
        return self.market

    def control(self, *faults: dict[str, Any]) -> list[int]:
        """Set faults, as POST /_control/faults does; returns their ids. Raises ReplayError for a bad one."""
        return self.server.faults.add(parse_faults(list(faults)))

    def clear_faults(self, fault_id: int | None = None) -> int:
        """Remove one fault or all."""
        return self.server.faults.clear(fault_id)

    async def __aenter__(self) -> Self:
        # The address of a combined stream is as long as the names of all its streams.
        self._runner = web.AppRunner(
            self.server.application(), access_log=None, shutdown_timeout=0.5, max_line_size=65_536
        )
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, self.host, self.port)
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise ReplayError(
                    f"port {self.port} on {self.host} is in use: stop what uses it or choose another with --port"
                ) from None
            raise ReplayError(f"cannot listen on {self.host}:{self.port}: {error.strerror or error}") from None
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


@contextmanager
def running_exchange(source: str | Path | Tape = "generated", **options: Any) -> Iterator[ReplayExchange]:
    """Run a ReplayExchange in a thread, for synchronous code. Options as for ReplayExchange."""
    exchange = ReplayExchange(source, **options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="replay-exchange", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(exchange.__aenter__(), loop).result()
        try:
            yield exchange
        finally:
            asyncio.run_coroutine_threadsafe(exchange.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def serve(source: str | Path = "generated", port: int = 8765, faults_file: Path | None = None, **options: Any) -> None:
    """Serve until SIGTERM or SIGINT, and print one line with the URL. Raises ReplayError.

    Other options as for ReplayExchange. ``token`` is the bearer token that requests need to set faults and the clock.
    """
    asyncio.run(_serve(ReplayExchange(source, port=port, faults=faults_file, **options)))


async def _serve(exchange: ReplayExchange) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with exchange:
        print(f"replay exchange: {exchange.url} ({exchange.market.description})", flush=True)
        await stop.wait()
