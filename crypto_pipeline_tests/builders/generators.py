"""Frames of bars and sets of windows for property tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import strategies as st

from crypto_pipeline.market import BAR_SCHEMA, BarOrigin

START = datetime(2024, 2, 28, 22, 50, tzinfo=UTC)  # near a leap day, in the middle of most windows
NAMES = ("ADA-BTC", "BTC-USDT", "XRP-ETH")

_PRICE = st.integers(1, 40).map(lambda tick: tick / 8)
_VOLUME = st.one_of(st.just(0.0), st.floats(1e-8, 1e6), st.integers(1, 9).map(float))


@st.composite
def bars_of(draw: st.DrawFn, names: tuple[str, ...] = NAMES, most: int = 40) -> pl.DataFrame:
    """1m bars of a few instruments, with holes, many minutes without trades, and values not stated here and there."""
    rows = []
    for name in names:
        minutes = draw(st.lists(st.integers(0, 3000), max_size=most, unique=True))
        rows += [draw(_bar(name, START + timedelta(minutes=minute))) for minute in sorted(minutes)]
    return pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row")


@st.composite
def _bar(draw: st.DrawFn, name: str, opened: datetime) -> tuple[object, ...]:
    low, *inner, high = sorted(draw(st.lists(_PRICE, min_size=4, max_size=4)))
    open_, close = draw(st.permutations(inner))
    volume = draw(_VOLUME)
    quote = draw(st.one_of(st.none(), st.just(volume * 2)))
    taker = None if quote is None else volume / 2
    count = draw(st.one_of(st.none(), st.integers(1, 99))) if volume else 0
    revision = opened + timedelta(minutes=draw(st.integers(1, 5)))
    source = draw(st.sampled_from(list(BarOrigin)))
    return (
        name, opened, open_, high, low, close, volume, quote, taker, count, str(source), draw(st.booleans()), revision,
    )  # fmt: skip
