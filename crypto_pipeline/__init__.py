"""A market database that keeps itself right.

>>> import crypto_pipeline
>>> crypto_pipeline.bars("BTC-USDT", "15m", start="2026-01-01", end="2026-01-08")  # doctest: +SKIP

Everything else is in the rooms: ``market`` (the words of the field), ``venues``, ``replay``, ``store``, ``healing``,
``ops``, ``defs`` and ``cli``. Importing the package itself loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from pathlib import Path

    import polars as pl

    Moment = datetime | date | str

__all__ = ["bars"]


def bars(
    instruments: str | Sequence[str],
    timeframe: str,
    *,
    start: Moment,
    end: Moment | None = None,
    as_of: Moment | None = None,
    data_dir: str | Path | None = None,
) -> pl.DataFrame:
    """Stored bars with open time in ``[start, end)``, sorted by instrument and time.

    ``start``, ``end`` (default: now) and ``as_of`` are aware datetimes or ISO 8601 text with zone; a bare date is its
    midnight in UTC. ``as_of`` gives exactly what was known at that moment. The database is the one of ``data_dir`` (or
    ``CRYPTO_PIPELINE_DATA_DIR``, where `crypto-pipeline up` runs), or that of ``CRYPTO_PIPELINE_DATABASE_URL``.

    Raises ValueError for a bad timeframe or time, StoreError for an unknown instrument or when no database answers.
    """
    from datetime import UTC, datetime

    from crypto_pipeline._reading import moment, open_store
    from crypto_pipeline.market.timeframes import Timeframe

    wanted = [instruments] if isinstance(instruments, str) else list(instruments)
    first = moment(start, "start")
    last = datetime.now(UTC) if end is None else moment(end, "end")
    if first >= last:
        raise ValueError(
            f"start {first.isoformat()} is not before end {last.isoformat()}: the span [start, end) is empty"
        )
    known = None if as_of is None else moment(as_of, "as_of")
    return open_store(data_dir).reader.read(wanted, Timeframe.parse(timeframe), first, last, as_of=known)
