"""The newest bars of instruments out of the bars of a span that has enough of them."""

from __future__ import annotations

from itertools import accumulate

import polars as pl


def newest_of(bars: pl.DataFrame, instruments: int, last: int) -> pl.DataFrame | None:
    """The newest ``last`` bars of each instrument; None if one of the ``instruments`` has fewer.

    ``bars`` is sorted by ``instrument`` and time.
    """
    lengths = bars["instrument"].rle().struct.field("len").to_list()
    if len(lengths) < instruments or any(length < last for length in lengths):
        return None
    return pl.concat([bars.slice(end - last, last) for end in accumulate(lengths)], rechunk=False)
