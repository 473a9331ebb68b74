"""PostgreSQL's binary formats, to and from numpy columns, without a Python loop over rows.

Rows with columns of fixed width have the same bytes around their values, so a whole batch is one numpy array of
records. A null is a length of -1 without value bytes: the records are made in full first, then the bytes of absent
values are removed, which is vectorised as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

#: PostgreSQL's epoch, 2000-01-01, in Unix microseconds.
PG_EPOCH_US = 946_684_800_000_000
PG_EPOCH_DAYS = 10_957

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_FORMATS = {
    "int2": ">i2",
    "int4": ">i4",
    "int8": ">i8",
    "float8": ">f8",
    "bool": "?",
    "timestamptz": ">i8",  # microseconds since PG_EPOCH_US
    "date": ">i4",  # days since PG_EPOCH_DAYS
}
#: A row's ctid: block and item, kept as one number in memory: ``block << 16 | item``.
TID = np.dtype([("block", ">u4"), ("item", ">u2")])


@dataclass(frozen=True, slots=True)
class Field:
    """One column on the wire: its name and the PostgreSQL type, or ``text`` with the one value that all rows share."""

    name: str
    type: str
    constant: str | None = None

    @property
    def wire(self) -> np.dtype[Any]:
        """The numpy dtype of the value in the stream."""
        if self.constant is not None:
            return np.dtype(f"S{len(self.constant.encode())}")
        return TID if self.type == "tid" else np.dtype(_FORMATS[self.type])


Layout = tuple[Field, ...]
Columns = Mapping[str, npt.NDArray[Any]]


@lru_cache(maxsize=64)
def _record(layout: Layout) -> np.dtype[Any]:
    parts: list[tuple[str, Any]] = [("fields", ">i2")]
    for field in layout:
        parts += [(f"{field.name} length", ">i4"), (field.name, field.wire)]
    return np.dtype(parts)


def encode(layout: Layout, columns: Columns, nulls: Columns | None = None) -> npt.NDArray[np.uint8]:
    """The bytes of all rows, without HEADER and TRAILER. ``nulls`` maps columns to masks of their absent values."""
    rows = next((len(columns[field.name]) for field in layout if field.constant is None), 0)
    record = _record(layout)
    out = np.empty(rows, record)
    out["fields"] = len(layout)
    for field in layout:
        out[f"{field.name} length"] = field.wire.itemsize
        if field.constant is not None:
            out[field.name] = field.constant.encode()
        elif field.type == "tid":
            out[field.name]["block"] = columns[field.name] >> 16
            out[field.name]["item"] = columns[field.name] & 0xFFFF
        else:
            out[field.name] = columns[field.name]
    flat = out.view(np.uint8)
    absent = {name: mask for name, mask in (nulls or {}).items() if mask.any()}
    return _cut(out, flat, absent) if absent else flat


def _cut(out: npt.NDArray[Any], flat: npt.NDArray[np.uint8], absent: Columns) -> npt.NDArray[np.uint8]:
    """Mark absent values by length -1 and remove their bytes."""
    record = out.dtype
    assert record.fields is not None
    keep = np.ones((len(out), record.itemsize), dtype=bool)
    for name, mask in absent.items():
        out[f"{name} length"][mask] = -1
        kind, offset = record.fields[name][:2]
        keep[mask, offset : offset + kind.itemsize] = False
    return flat[keep.reshape(-1)]


def names(layout: Sequence[Field]) -> list[str]:
    """The column names of a layout, in order."""
    return [field.name for field in layout]
