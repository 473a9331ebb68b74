"""Numbers on the wire: exact, however large."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.replay.market.render import decimal_text


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1), st.integers(0, 8))
def test_text_is_exact_beyond_64_bits(units: list[int], decimals: int) -> None:
    text = decimal_text(pl.Series("volume", units, dtype=pl.Int64), decimals).to_list()
    assert [Decimal(one) for one in text] == [Decimal(one).scaleb(-decimals) for one in units]
