"""Bars as a lazy frame: one month after the other, with only the columns and rows that the query uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import polars as pl
from polars.io.plugins import register_io_source

from crypto_pipeline.market.times import EPOCH, month_number, month_start, unix_ms
from crypto_pipeline.reading.display.progress import shown_progress
from crypto_pipeline.reading.query import Question
from crypto_pipeline.store.columns.frames import READ_SCHEMA


def scan(read: Callable[[Question], pl.DataFrame], asked: Question, progress: bool | None = False) -> pl.LazyFrame:
    """A lazy frame over the question's span; ``progress`` as in ``shown_progress``, by months."""

    def pieces(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        del batch  # each batch is a month
        left, months = rows, list(_months(asked))
        with shown_progress(f"Months of {asked.timeframe} bars", progress) as report:
            for number, (begin, until) in enumerate(months):
                part = _narrowed(replace(asked, start=begin, end=until), predicate)
                report(number + 1, len(months))
                if part is None:
                    continue
                found = read(replace(part, columns=tuple(columns or READ_SCHEMA)))
                if predicate is not None:
                    found = found.filter(predicate)
                if left is not None:
                    found = found.head(left)
                    left -= found.height
                yield found
                if left == 0:
                    return

    return register_io_source(pieces, schema=READ_SCHEMA)


def _narrowed(asked: Question, predicate: pl.Expr | None) -> Question | None:
    """The question without instruments and times that the predicate excludes; None: it excludes all.

    The conditions on instruments alone are tried on their names, those on times alone on all times of the span.
    """
    for part in _conditions(predicate) if predicate is not None else ():
        used = set(part.meta.root_names())
        if used == {"instrument"}:
            names = pl.DataFrame({"instrument": list(asked.instruments)}).filter(part)["instrument"].to_list()
            asked = replace(asked, instruments=tuple(names))
        elif used == {"open_time"}:
            times = _open_times(asked).filter(part)["open_time"]
            low, high = times.min(), times.max()
            if not isinstance(low, datetime) or not isinstance(high, datetime):
                return None
            assert asked.end is not None
            asked = replace(asked, start=low, end=min(high + asked.timeframe.delta, asked.end))
    return asked if asked.instruments else None


def _open_times(asked: Question) -> pl.DataFrame:
    """All times at which bars of the question may open."""
    assert asked.start is not None
    assert asked.end is not None
    width = asked.timeframe
    count, first = width.count(asked.start, asked.end), unix_ms(width.ceil(asked.start))
    steps = pl.int_range(count, dtype=pl.Int64) * width.milliseconds + first
    return pl.select(steps.cast(READ_SCHEMA["open_time"]).alias("open_time"))


def _conditions(predicate: pl.Expr) -> list[pl.Expr]:
    """The parts of a conjunction."""
    parts = predicate.meta.pop()
    if len(parts) == 2:
        for one, other in (parts, parts[::-1]):
            if (one & other).meta.eq(predicate):
                return [*_conditions(one), *_conditions(other)]
    return [predicate]


def _months(asked: Question) -> Iterator[tuple[datetime, datetime]]:
    assert asked.start is not None
    assert asked.end is not None
    # no bar is older; and a span from the year 1 on would be 24,000 questions
    begin = max(asked.start, min(asked.end, EPOCH))
    while begin < asked.end:
        until = min(month_start(month_number(begin) + 1), asked.end)
        yield begin, until
        begin = until
