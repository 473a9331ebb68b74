"""Ids of orders, which follow from the signal and the order's place: whoever makes an order again makes the same id."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

#: All ids begin so; an order at the venue without it is not ours.
PREFIX = "cp"


def client_order_id(broker: str, strategy: str, instrument: str, signal_ts: datetime, role: str, number: int) -> str:
    """26 characters of letters and digits. Venues allow 36 and more, which leaves room for the legs of pairs."""
    key = "|".join((broker, strategy, instrument, signal_ts.isoformat(), role, str(number)))
    digest = hashlib.sha256(key.encode()).digest()
    return PREFIX + base64.b32encode(digest[:15]).decode().lower()
