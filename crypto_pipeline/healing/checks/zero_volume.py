"""The check of bars without volume: silences that a working venue would hardly have stated."""

from __future__ import annotations

import json
from datetime import datetime

import polars as pl

from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.gaps.zero_volume import OFFENDERS, improbable
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

NAME = "silence_is_plausible"


def silence_is_plausible(store: Store, start: datetime, end: datetime) -> tuple[CheckOutcome, str]:
    """Check minutes without volume in ``[start, end)``; returns the outcome and the share of minutes that traded.

    Offenders of earlier checks outside of the span stay in the outcome: the venue's statements cannot be repaired here,
    so only a check of the same days removes them. Raises StoreError.
    """
    silent = store.audit.silent_minutes(start, end)
    days = store.coverage.cells([Timeframe.M1], start, end).select("instrument", "day", "present")
    found = improbable(silent, days, store.audit.activity(Timeframe.M1, start, end) if silent.height else silent)
    offenders = pl.concat([_earlier(store, start, end), found]).sort("open_time", "instrument")
    present = int(days["present"].sum())
    share = f"{present - silent.height:,} of {present:,} minutes traded ({1 - silent.height / max(present, 1):.1%})"
    figures = {"traded": present - silent.height, "doubted": int(offenders["minutes"].sum())}
    if offenders.is_empty():
        return CheckOutcome(NAME, Timeframe.M1, True, "warning", share, figures=figures), share
    first = offenders.row(0, named=True)
    said = (
        f"{offenders.height:,} silences to be doubted, of {offenders['instrument'].n_unique()} instruments; first: "
        f"{first['instrument']} {first['open_time']:%Y-%m-%d %H:%M} UTC, {first['minutes']:,} minutes, "
        f"{first['reason']}; {share}"
    )
    return CheckOutcome(NAME, Timeframe.M1, False, "warning", said, offenders, figures), share


def _earlier(store: Store, start: datetime, end: datetime) -> pl.DataFrame:
    """Offenders of the newest result outside ``[start, end)``, of instruments that are still collected."""
    active = [row.instrument.symbol for row in store.instruments.list()]
    rows = []
    for text in store.checks.results().filter(check=NAME)["detail"]:
        for row in json.loads(text).get("offenders", []):
            opened = datetime.fromisoformat(row["open_time"])
            if row["instrument"] in active and not start <= opened < end:
                rows.append((row["instrument"], opened, row["minutes"], row["reason"]))
    return pl.DataFrame(rows, schema=OFFENDERS, orient="row")
