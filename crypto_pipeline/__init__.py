"""A market database that keeps itself right.

>>> import crypto_pipeline
>>> crypto_pipeline.bars("BTC-USDT", "15m", start="2026-01-01", end="2026-01-08")  # doctest: +SKIP
>>> reader = crypto_pipeline.Reader("postgresql://…")  # another machine's  # doctest: +SKIP

Everything else is in the rooms: ``market`` (the words of the field), ``venues``, ``replay``, ``store``, ``reading``,
``healing``, ``features``, ``labels``, ``api``, ``ops``, ``defs`` and ``cli``. Importing the package itself loads none.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import polars as pl

    from crypto_pipeline.forecasts.answer import ForecastAnswer
    from crypto_pipeline.reading import AdjustmentWarning, Reader, SpanWarning
    from crypto_pipeline.reading.arguments import Moment
    from crypto_pipeline.reading.query import BarOptions
    from crypto_pipeline.reading.stream import LiveStream
    from crypto_pipeline.store import StoreError
    from crypto_pipeline.trading.stored.replay import TradingReplay

    __version__: str

__all__ = [
    "AdjustmentWarning", "Reader", "SpanWarning", "StoreError", "__version__", "bars", "forecast", "instruments",
    "macro", "replay_trading", "stream", "training_set",
]  # fmt: skip

#: Readers of ``bars`` and the other functions, by the URL of their database, oldest first.
_readers: dict[str, Reader] = {}
_MOST_READERS = 4


def bars(
    instruments: str | Sequence[str],
    timeframe: str,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    last: int | None = None,
    as_of: Moment | None = None,
    final_only: bool = True,
    columns: str | Sequence[str] | None = None,
    fill: str | None = None,
    adjust: str = "none",
    sessions: str = "all",
    data_dir: str | Path | None = None,
) -> pl.DataFrame:
    """Bars as ``Reader.bars`` gives them, over connections that stay open between calls.

    Without ``start`` and ``last``: the last day for minutes, a hundred bars for wider ones. ``columns="all"`` gives
    every column; ``adjust="splits"`` or "all" puts prices of stocks on the basis of today. The frame is Polars';
    ``.to_pandas()`` makes one for pandas. A SpanWarning says where the span reaches beyond what is collected.

    The database is the one of ``data_dir`` (or ``CRYPTO_PIPELINE_DATA_DIR``, where `crypto-pipeline up` runs), or that
    of ``CRYPTO_PIPELINE_DATABASE_URL``. Nothing is started for it.

    Raises ValueError for a bad argument, StoreError for an unknown instrument or when no database answers.
    """
    from crypto_pipeline.reading import question

    def now() -> datetime:
        return _reader(data_dir).now()

    options: BarOptions = {
        "last": last, "as_of": as_of, "final_only": final_only, "columns": columns, "fill": fill, "adjust": adjust,
        "sessions": sessions,
    }  # fmt: skip
    asked = question(instruments, timeframe, start, end, now=now, **options)
    return _reader(data_dir).answer_or_warn(asked, stacklevel=2)


def instruments(*, active_only: bool = True, data_dir: str | Path | None = None) -> pl.DataFrame:
    """What is collected, as ``Reader.instruments`` gives it, from the same database as ``bars``."""
    return _reader(data_dir).instruments(active_only=active_only)


def forecast(symbol: str, horizon: str = "1h", *, data_dir: str | Path | None = None) -> ForecastAnswer:
    """Where the price of an instrument will be, from the same database as ``bars``: 24 hours, 7 days or 4 weeks.

    ``horizon`` is 1h, 1d or 1w. The answer has ``as_of``, ``age_s`` and ``stale``; its ``forecast`` has the median and
    the 80 % and 95 % intervals of every step (``rows()``), and says which candidate was chosen and why.

    Raises ValueError for an unknown horizon, StoreError for an unknown instrument, for one without a forecast, for a
    forecast that is too old, or when no database answers.
    """
    from crypto_pipeline.forecasts.stored.reading import read_forecast

    return read_forecast(_reader(data_dir).store, symbol, horizon)


def macro(
    series: str,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    as_of: Moment | None = None,
    prints: str = "latest",
    data_dir: str | Path | None = None,
) -> pl.DataFrame:
    """Observations of a macro series, as ``Reader.macro`` gives them, from the same database as ``bars``.

    ``as_of`` gives what was public at that moment; ``prints`` is ``latest``, ``first`` or ``all``.
    """
    return _reader(data_dir).macro(series, start, end, as_of=as_of, prints=prints)


def stream(
    *channels: str, url: str | None = None, token: str | None = None, data_dir: str | Path | None = None
) -> LiveStream:
    """What changes, as soon as it is stored: an async iterator of updates, which connects anew and loses nothing.

    ``channels`` are ``prices``, ``forming/BTC-USDT/1m``, ``bars/BTC-USDT/1m``, ``forecasts/BTC-USDT``, ``signals``,
    ``trades`` and ``alerts``; the AsyncAPI document at ``/asyncapi.json`` describes their rows. ``url`` is the address
    of the HTTP reads; without it that of what runs in ``data_dir`` (or ``CRYPTO_PIPELINE_DATA_DIR``). ``token``: of
    that server; without it ``CRYPTO_PIPELINE_API_TOKEN`` where no ``url`` is given.

    >>> async for update in crypto_pipeline.stream("prices"):  # doctest: +SKIP
    ...     print(update.frame())

    See ``LiveStream``. Raises ValueError for a bad argument; iterating raises StoreError where no server answers at
    the first attempt, or where it refuses.
    """
    from crypto_pipeline.reading.stream import LiveStream
    from crypto_pipeline.settings import load_settings

    if url is None:
        from crypto_pipeline.addresses import base_url
        from crypto_pipeline.ops.host.paths import Places, running_state

        settings = load_settings(data_dir=data_dir)
        state = running_state(Places(settings.data_dir))
        url = (state and state.urls.get("api")) or base_url(settings.host, settings.api_port)
        if token is None and settings.api_token is not None:
            token = settings.api_token.get_secret_value()
    return LiveStream(channels, url, token)


def training_set(
    strategy: str,
    start: Moment,
    end: Moment,
    *,
    as_of: Moment | None = None,
    parameter_set: str = "default",
    instruments: Sequence[str] | None = None,
    eligible_only: bool = True,
    progress: bool | None = None,
    data_dir: str | Path | None = None,
) -> pl.DataFrame:
    """Features joined to the labels of signals in ``[start, end)``, as known at ``as_of`` (default: now).

    Columns are those of ``labels.stored.training.training_set``, which also gives the manifest. The set ``loose`` comes
    together with every event of the set ``default``, which is marked ``is_default``. Where there are no rows, an
    ``EmptyTrainingSetWarning`` says why and what would give some. ``progress`` shows the instruments that are done:
    None in notebooks, True in terminals too, False nowhere.

    Raises ValueError for a bad argument, StoreError for an unknown instrument or when no database answers.
    """
    from crypto_pipeline.healing.plan import retention_policy
    from crypto_pipeline.labels.parameters import DEFAULT, LOOSE, parameter_sets
    from crypto_pipeline.labels.stored.training import EmptyTrainingSetWarning, training_set
    from crypto_pipeline.labels.strategies.registry import Strategy
    from crypto_pipeline.reading.arguments import moment, optional
    from crypto_pipeline.reading.display.progress import shown_progress
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.store import Store, resolve_url
    from crypto_pipeline.store.database.fork_safety import require_polars

    settings = load_settings(data_dir=data_dir)
    chosen, sets = Strategy.parse(strategy), parameter_sets(settings.label_parameters)
    if parameter_set not in sets:
        raise ValueError(f"unknown parameter set {parameter_set!r}: there are {', '.join(sets)}")
    span = moment(start, "start"), moment(end, "end")
    require_polars("training_set")
    with Store(resolve_url(settings)) as store, shown_progress("Training set, instruments", progress) as report:
        made = training_set(
            store, chosen, *span,
            as_of=optional(as_of, "as_of", up=False), parameters=sets[parameter_set][chosen],
            default=sets[DEFAULT][chosen] if parameter_set == LOOSE else None,
            instruments=instruments, eligible_only=eligible_only, retention=retention_policy(settings), report=report,
        )  # fmt: skip
    if made.why_empty:
        warnings.warn(made.why_empty, EmptyTrainingSetWarning, stacklevel=2)
    return made.frame


def replay_trading(
    start: Moment,
    end: Moment | None = None,
    *,
    variant: str = "CHAMPION",
    instruments: Sequence[str] = (),
    strategies: Sequence[str] = (),
    as_of: Moment | None = None,
    parameters: Mapping[str, Any] | None = None,
    report: str | Path | None = None,
    progress: bool | None = None,
    data_dir: str | Path | None = None,
) -> TradingReplay:
    """What trading would have done with the 15m bars of ``[start, end)``, by the functions of live trading.

    It begins with a new account; nothing is stored. ``variant``: a shadow variant. ``strategies``: names of those that
    trade, default all. ``parameters``: trading parameters
    that differ from those of the settings, by name (``{"max_open": 3}``). ``as_of``: with the bars and predictions that
    were stored by then. ``report``: a file for a page with charts. ``progress`` shows the weeks that are done, as that
    of ``training_set``. The answer has ``book`` (figures), ``simulation`` (decisions, orders, fills, trades, postings
    and equity as frames) and ``journal()``.

    The database is that of ``bars``. Raises ValueError for a bad argument, StoreError for an unknown instrument or
    variant, where the span has no bar, or when no database answers.
    """
    from pathlib import Path

    from crypto_pipeline.labels.strategies.registry import Strategy
    from crypto_pipeline.reading.arguments import moment, optional
    from crypto_pipeline.reading.display.progress import shown_progress
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.store.database.fork_safety import require_polars
    from crypto_pipeline.trading.stored.production import production_parameters
    from crypto_pipeline.trading.stored.replay import replay_trading

    require_polars("replay_trading")
    settings, reader = load_settings(data_dir=data_dir), _reader(data_dir)
    first, last = moment(start, "start"), optional(end, "end", up=True) or reader.now()
    champion = production_parameters(reader.store, settings)
    with shown_progress("Replay, weeks", progress) as steps:
        made = replay_trading(
            reader.store, settings, first, last, variant=variant, instruments=instruments, report=steps,
            as_of=optional(as_of, "as_of", up=False), strategies=[Strategy.parse(name) for name in strategies],
            parameters=champion.changed(parameters) if parameters else champion,
        )  # fmt: skip
    if report is not None:
        from crypto_pipeline.ops.reports.trading_page import book_page

        Path(report).write_text(book_page(made.book, made.title), "utf-8")
    return made


def _reader(data_dir: str | Path | None) -> Reader:
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.store import resolve_url

    settings = load_settings(data_dir=data_dir)
    read_url = settings.database_read_url
    return _kept(resolve_url(settings), read_url.get_secret_value() if read_url else None, settings.database_read_lag)


def _kept(url: str, read_url: str | None, read_lag: float) -> Reader:
    """The reader of a database, one for all threads, and only of the newest few databases."""
    from crypto_pipeline.reading import Reader

    found = _readers.get(url)
    if found is None:
        made = Reader(url, read_url=read_url, read_lag=read_lag)  # connects when it is first asked
        found = _readers.setdefault(url, made)
        if found is not made:  # another thread was faster
            made.close()
        for other in list(_readers)[:-_MOST_READERS]:
            _readers.pop(other, None)
    return found


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("crypto-pipeline")
    if name == "StoreError":
        from crypto_pipeline.store import StoreError

        return StoreError
    if name in ("AdjustmentWarning", "Reader", "SpanWarning"):
        from crypto_pipeline import reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
