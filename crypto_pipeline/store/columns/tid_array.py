"""Row identifiers (ctid) as one binary array parameter of a statement, made from a numpy column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from crypto_pipeline.store.columns.copy_format import TID

_TID_OID, _TID_ARRAY_OID = 27, 1010
_HEADER = np.dtype([("dimensions", ">i4"), ("has nulls", ">i4"), ("type", ">i4"), ("length", ">i4"), ("first", ">i4")])
_ITEM = np.dtype([("size", ">i4"), ("tid", TID)])


@dataclass(frozen=True, slots=True)
class TidArray:
    """A value of type ``tid[]``; ``places`` has ``block << 16 | item`` of each row."""

    places: npt.NDArray[Any]

    def binary(self) -> bytes:
        """The array in PostgreSQL's binary format."""
        head = np.array([(1, 0, _TID_OID, len(self.places), 1)], _HEADER)
        items = np.empty(len(self.places), _ITEM)
        items["size"] = TID.itemsize
        items["tid"]["block"] = self.places >> 16
        items["tid"]["item"] = self.places & 0xFFFF
        return head.tobytes() + items.tobytes()


class _TidArrayDumper(Dumper):
    format = Format.BINARY
    oid = _TID_ARRAY_OID

    def dump(self, obj: TidArray) -> bytes:
        return obj.binary()


def execute(connection: psycopg.Connection[Any], statement: sql.Composed, places: npt.NDArray[Any]) -> int:
    """Run a statement whose one parameter is a ``tid[]``; return the number of its rows."""
    with connection.cursor() as cursor:
        cursor.adapters.register_dumper(TidArray, _TidArrayDumper)
        return cursor.execute(statement, [TidArray(places)]).rowcount
