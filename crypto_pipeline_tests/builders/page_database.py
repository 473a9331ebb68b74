"""A database for the live page: two instruments, one of them with a price and bars of a recording's newest minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.healing.plan import Horizon, refresh_expected
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import LivePrice, Store
from crypto_pipeline_tests.builders.bars import bar, frame
from crypto_pipeline_tests.builders.databases import NewDatabase

#: The market's time: of a recording.
NOW = datetime(2021, 4, 25, 8, 0, 30, tzinfo=UTC)
NAMES = ("BTC-USDT", "ETH-USDT")


@contextmanager
def page_database(new_database: NewDatabase, name: str) -> Iterator[str]:
    """URL of a database called ``name`` with three minutes of today and one of yesterday, a price and an alert."""
    with new_database(name) as url:
        with Store(url) as store:
            store.clock.learn("replay", NOW)
            store.instruments.add([Instrument.crypto(each) for each in NAMES])
            known = pl.DataFrame({"instrument": NAMES, "calendar": ["24/7"] * len(NAMES)})
            refresh_expected(store, known, Horizon.of(NOW, 1, 0), [Timeframe.M1])
            minute = Timeframe.M1.floor(NOW)
            rows = [bar(NAMES[0], minute - back * timedelta(minutes=1)) for back in (1, 2, 3, 24 * 60 + 9)]
            store.bars.write(frame(rows), Timeframe.M1)
            store.live.flush("replay", None, [page_price(201.0, NOW - timedelta(seconds=2))])
            store.checks.raise_alert("one <b>thing</b>", "error", "it is wrong")
        yield url


def page_price(price: float, moment: datetime, trade_id: int = 9) -> LivePrice:
    """A price of the first instrument, with its forming bar."""
    ms = round(moment.timestamp() * 1000)
    prices = (price, price, price, price)
    return LivePrice(
        NAMES[0], Timeframe.M1, ms - ms % 60_000, *prices, 1.0, price, 0.0, 1, price, ms, trade_id, "live_aggregated"
    )
