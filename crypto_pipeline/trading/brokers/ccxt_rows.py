"""Orders and fills of ccxt as the port has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from crypto_pipeline.trading.brokers.port import VenueFill, VenueOrder, VenueState

_STATES: dict[str, VenueState] = {
    "open": "open", "closed": "filled", "canceled": "cancelled", "expired": "expired", "rejected": "rejected",
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ccxt_symbol(instrument: str) -> str:
    """ccxt's name of an instrument."""
    return instrument.partition("@")[0].replace("-", "/", 1)


def decimal_of(value: Any) -> Decimal:
    """A number of ccxt, exactly as it is written; None is 0."""
    return Decimal(0) if value is None else Decimal(str(value))


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split())[:300]


def venue_order(row: Mapping[str, Any]) -> VenueOrder:
    """An order of ccxt. Raises ValueError for one that does not say what became of it."""
    state, info = _STATES.get(str(row["status"])), row.get("info")
    if state is None or not isinstance(info, dict) or not row["id"] or not row["clientOrderId"]:
        raise ValueError(f"an order without id or state: {str(info)[:100]!r}")
    rests = state == "open" and str(info.get("type", "")).startswith("STOP") and not info.get("isWorking")
    filled, instrument = decimal_of(row["filled"]), str(row["symbol"]).replace("/", "-")
    return VenueOrder(str(row["clientOrderId"]), state, filled, str(row["id"]), rests, instrument)


def merged_pair(client_id: str, legs: Sequence[VenueOrder], quantity: Decimal | None = None) -> VenueOrder:
    """The orders of a pair as one. It is filled when either is, and open while either is."""
    if len(legs) == 1 and legs[0].client_id == client_id:
        return legs[0]
    filled = sum((leg.filled for leg in legs), Decimal(0))
    states = {leg.state for leg in legs}
    state: VenueState
    if "open" in states:
        state = "open"
    elif "filled" in states:
        state = "filled"
    else:
        state = "cancelled" if "cancelled" in states else "expired"
    numbers = ",".join(leg.venue_id for leg in legs)
    return VenueOrder(client_id, state, filled, numbers, any(leg.stop_rests for leg in legs), legs[0].instrument)


def venue_fill(row: Mapping[str, Any]) -> VenueFill:
    """A trade of ccxt, with the venue's own digits where it has them."""
    fee = row.get("fee") or {}
    return VenueFill(
        str(row["id"]),
        "buy" if row["side"] == "buy" else "sell",
        decimal_of((row.get("info") or {}).get("price") or row["price"]),
        decimal_of((row.get("info") or {}).get("qty") or row["amount"]),
        decimal_of((row.get("info") or {}).get("commission") or fee.get("cost")),
        str(fee.get("currency") or row["symbol"].partition("/")[2]),
        _EPOCH + timedelta(milliseconds=int(row["timestamp"])),
    )
