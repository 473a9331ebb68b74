"""From which day on the newest bars of instruments lie, by the counts of coverage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import psycopg

from crypto_pipeline.market.timeframes import Timeframe

# Cells of each instrument with bars, newest first.
_CELLS = """
SELECT i.number, c.day, c.present FROM unnest(%(ids)s::int[]) AS i (number)
CROSS JOIN LATERAL (
    SELECT day, present FROM market.coverage c
    WHERE c.instrument_id = i.number AND c.timeframe = %(timeframe)s AND c.day < %(until)s::date AND c.present > 0
    ORDER BY c.day DESC LIMIT %(cells)s
) c
ORDER BY i.number, c.day DESC
"""
#: An instrument that trades a quarter of the time has its newest bars in so many times as many cells.
_SPARSE = 4
_MORE_CELLS = 8


def first_day(
    connection: psycopg.Connection[Any], ids: Sequence[int], timeframe: Timeframe, until: datetime, last: int
) -> date | None:
    """A day from which on each instrument has at least ``last`` bars that open before ``until`` (UTC).

    None if one of them seems to have fewer, or has them in much older days.
    """
    cells = _SPARSE * (last // timeframe.bars_per_cell + 1) + _MORE_CELLS
    end = until.date() + timedelta(days=1) if until.year < date.max.year else date.max
    values = {"ids": list(ids), "timeframe": str(timeframe), "until": end, "cells": cells}
    days = []
    for _, rows in groupby(connection.execute(_CELLS, values), key=lambda row: row[0]):
        found = 0
        for number, (_, day, present) in enumerate(rows):
            # bars of the newest cell may open at ``until`` or later
            found += present if number else 0
            if found >= last:
                days.append(day)
                break
    return min(days) if len(days) == len(ids) else None
