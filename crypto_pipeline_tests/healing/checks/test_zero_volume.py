"""The check of silence on stored bars: what it finds stays told until the same days are looked at again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.healing.checks.zero_volume import NAME, silence_is_plausible
from crypto_pipeline.market import BAR_SCHEMA, Instrument, Timeframe
from crypto_pipeline.store import Store

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def bars(name: str, days: int, filled: range, moved: int | None = None) -> pl.DataFrame:
    """Minutes that trade at a price of their own, but for the filled ones, which are flat at the close before."""
    rows, close = [], 100.0
    for place in range(days * 1440):
        silent = place in filled or place == moved
        close = close if silent and place != moved else 100.0 + place % 7
        count = (0.0, 0.0, 0.0, 0) if silent else (2.0, 200.0, 1.0, 3)
        opened = DAY + timedelta(minutes=place)
        rows.append((name, opened, close, close, close, close, *count, "venue_historical", True, opened))
    return pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row")


def test_what_was_filled_is_doubted_with_the_traded_share(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("AA-USDT"), Instrument.crypto("BB-USDT")])
        filled = pl.concat([bars("AA-USDT", 3, range(2000, 2100)), bars("BB-USDT", 3, range(0), moved=3000)])
        store.bars.write(filled, Timeframe.M1)

        def look(first: int, last: int) -> tuple[list[tuple[str, datetime, int]], str]:
            span = DAY + timedelta(days=first), DAY + timedelta(days=last)
            outcome, share = silence_is_plausible(store, *span)
            assert outcome.passed == outcome.offenders.is_empty()
            rows = [
                row | {"open_time": row["open_time"].isoformat(sep=" ")}
                for row in outcome.offenders.iter_rows(named=True)
            ]
            store.checks.record_result(NAME, "1m", outcome.passed, "warning", outcome.summary, {"offenders": rows})
            found = [(row["instrument"], row["open_time"], row["minutes"]) for row in outcome.offenders.to_dicts()]
            return found, share

        found = [
            ("AA-USDT", DAY + timedelta(minutes=2000), 100),
            ("BB-USDT", DAY + timedelta(minutes=3000), 1),
        ]
        assert look(0, 1) == ([], "2,880 of 2,880 minutes traded (100.0%)")
        assert look(0, 3) == (found, "8,539 of 8,640 minutes traded (98.8%)")
        assert look(0, 1)[0] == found, "looking elsewhere takes nothing back"
        store.bars.write(
            bars("AA-USDT", 3, range(0)).with_columns(pl.col("revision") + timedelta(days=9)), Timeframe.M1
        )
        assert look(0, 3)[0] == found[1:]
