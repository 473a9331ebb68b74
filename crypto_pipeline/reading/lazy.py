"""Bars as a lazy frame: one month after the other, with only the columns and rows that the query uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import polars as pl
from polars.io.plugins import register_io_source

from crypto_pipeline.market.times import EPOCH, month_number, month_start
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
                found = read(replace(asked, start=begin, end=until, columns=tuple(columns or READ_SCHEMA)))
                report(number + 1, len(months))
                if predicate is not None:
                    found = found.filter(predicate)
                if left is not None:
                    found = found.head(left)
                    left -= found.height
                yield found
                if left == 0:
                    return

    return register_io_source(pieces, schema=READ_SCHEMA)


def _months(asked: Question) -> Iterator[tuple[datetime, datetime]]:
    assert asked.start is not None
    assert asked.end is not None
    # no bar is older; and a span from the year 1 on would be 24,000 questions
    begin = max(asked.start, min(asked.end, EPOCH))
    while begin < asked.end:
        until = min(month_start(month_number(begin) + 1), asked.end)
        yield begin, until
        begin = until
