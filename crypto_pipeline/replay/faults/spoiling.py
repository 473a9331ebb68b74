"""Changes values in rows of answers and in messages of streams."""

from __future__ import annotations

import json
from typing import Any

from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay.faults.base import RowChanges

#: Positions of a kline's elements by the names of the fault's fields.
KLINE = {
    name: place
    for place, name in enumerate(
        (
            *("open_time", "open", "high", "low", "close", "volume", "close_time"),
            *("quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume"),
        )
    )
}
#: Fields of a kline message of the stream by the same names.
_STREAM_KLINE = {
    **{"open_time": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "close_time": "T"},
    **{"quote_volume": "q", "trade_count": "n", "taker_buy_volume": "V", "taker_buy_quote_volume": "Q"},
}


def spoil_body(fault: RowChanges, body: bytes) -> bytes:
    """A body of klines or aggregate trades with the fault's changes; other bodies are returned unchanged."""
    rows = json.loads(body)
    if not isinstance(rows, list):
        return body
    changed: list[Any] = []
    for row in rows:
        if not _in_span(fault, row[0] if isinstance(row, list) else row["T"]):
            changed.append(row)
        elif isinstance(row, list):
            changed.append(_kline(fault, row))
        else:
            changed.append(_fields(fault, row, {}))
    numbered = [row for row in changed if isinstance(row, dict) and "a" in row] if fault.reverse_ids else []
    for row, number in zip(numbered, [row["a"] for row in numbered][::-1], strict=True):
        row["a"] = number
    return json.dumps(changed, separators=(",", ":")).encode()


def spoil_message(fault: RowChanges, body: str) -> str:
    """A stream message (a trade or bar) with the fault's changes."""
    message = json.loads(body)
    if "k" in message:
        if _in_span(fault, message["k"]["t"]):
            message["k"] = _fields(fault, message["k"], _STREAM_KLINE)
    elif _in_span(fault, message.get("T", 0)):
        message = _fields(fault, message, {})
    return json.dumps(message, separators=(",", ":"))


def _in_span(fault: RowChanges, ms: int) -> bool:
    return (fault.start is None or ms >= unix_ms(fault.start)) and (fault.end is None or ms < unix_ms(fault.end))


def _kline(fault: RowChanges, row: list[Any]) -> list[Any]:
    row = list(row)
    for name, value in fault.values.items():
        row[KLINE[name]] = value
    row[0], row[6] = row[0] + fault.shift_ms, row[6] + fault.shift_ms
    absent = {KLINE[name] for name in fault.absent}
    return [value for place, value in enumerate(row) if place not in absent]


def _fields(fault: RowChanges, row: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    row = {**row, **{names.get(name, name): value for name, value in fault.values.items()}}
    if fault.shift_ms:
        for name in ("t", "T"):
            if isinstance(row.get(name), int) and (names or name == "T"):
                row[name] += fault.shift_ms
    return {name: value for name, value in row.items() if name not in {names.get(one, one) for one in fault.absent}}
