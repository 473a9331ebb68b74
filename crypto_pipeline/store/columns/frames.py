"""Answers of the database as Polars frames of bars: with names instead of numbers, sorted, only requested columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA, UTC_MS
from crypto_pipeline.store.columns.bars import BAR_COLUMNS, OPTIONAL_AMOUNTS, OPTIONAL_COUNTS, RANKS
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US

Array = npt.NDArray[Any]

UTC_US = pl.Datetime("us", "UTC")
#: Schema of ``read``: BAR_SCHEMA, ``recorded_at`` and ``vwap``. ``recorded_at`` has microseconds, so that it can be
#: passed as ``as_of``.
READ_SCHEMA: dict[str, pl.DataType] = {**BAR_SCHEMA, "recorded_at": UTC_US, "vwap": pl.Float64()}

#: Table columns of those frame columns that do not have a table column of the same name.
_MADE_OF = {
    "instrument": ("instrument_id",),
    "source": ("source_rank",),
    "vwap": ("volume", "quote_volume"),
}
_TYPES = {"instrument_id": "i4", "place": "i4", "source_rank": "i2", "complete": "u1"}
_MOMENTS = ("open_time", "revision", "recorded_at")
#: Header of a one-dimensional array: dimensions, null flag, element type, length, lower bound; the elements follow.
_ARRAY_HEADER = 20
_SOURCES = pl.Series("source", [None] * (max(RANKS.values()) + 1), dtype=pl.String).scatter(
    sorted(RANKS.values()), [name for name, _ in sorted(RANKS.items(), key=lambda item: item[1])]
)


def columns_for(names: Sequence[str]) -> tuple[str, ...]:
    """Table columns for a frame with these columns."""
    return _columns_for(tuple(names))


@lru_cache(maxsize=256)
def _columns_for(names: tuple[str, ...]) -> tuple[str, ...]:
    needed = {"instrument_id", "open_time"}
    for name in names:
        needed.update(_MADE_OF.get(name, (name,)))
    return tuple(name for name in BAR_COLUMNS if name in needed)


def _layout(name: str) -> np.dtype[Any]:
    kind = _TYPES.get(name, "i8" if name in _MOMENTS or name in OPTIONAL_COUNTS else "f8")
    return np.dtype([("length", ">i4"), ("value", f">{kind}")])


_LAYOUTS = {name: _layout(name) for name in ("place", *BAR_COLUMNS)}


class InstrumentNames:
    """The instruments of one query: their numbers, and their positions in the order of names."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        names = sorted(ids)
        numbers = np.array([ids[name] for name in names], np.int64)
        self._by_number = np.argsort(numbers)
        self._numbers = numbers[self._by_number]
        self._names = pl.Series("instrument", names, dtype=pl.String)

    def places(self, numbers: Array) -> Array:
        """The position of each instrument number in the order of names."""
        if len(self._numbers) == 1:
            return np.zeros(len(numbers), np.int64)
        return self._by_number[np.searchsorted(self._numbers, numbers)]

    def at(self, places: Array) -> pl.Series:
        """The names at these positions."""
        if len(self._numbers) == 1:
            return self._names.new_from_index(0, len(places))
        return self._names[places.astype(np.uint32)]


def packed_bars(
    columns: Sequence[str], arrays: Sequence[bytes | None], names: InstrumentNames, wanted: Sequence[str]
) -> pl.DataFrame:
    """A frame from ``array_send`` bytes, equal to that of ``bars``. Uses numpy, because a Polars expression costs
    0.1 ms.
    """
    values = {name: _values(name, data) for name, data in zip(columns, arrays, strict=True)}
    places = names.places(values.pop("instrument_id"))
    places, made = _ordered(places, values)
    return _frame(made, names.at(places), wanted)


def frames_together(
    columns: Sequence[str], arrays: Sequence[bytes | None], names: Sequence[str], wanted: Sequence[str]
) -> list[pl.DataFrame]:
    """Frames of several queries for one instrument (``names``) each; the first array has the query of each row.

    The frames are slices of one frame and share its memory.
    """
    values = {name: _values(name, data) for name, data in zip(("place", *columns), arrays, strict=True)}
    places, made = _ordered(values.pop("place").astype(np.int64) - 1, values)
    instruments = pl.Series("instrument", names, dtype=pl.String)[places.astype(np.uint32)]
    whole = _frame(made, instruments, wanted)
    counts = np.bincount(places, minlength=len(names)).tolist()
    found, begin = [], 0
    for count in counts:
        found.append(whole.slice(begin, count))
        begin += count
    return found


def _ordered(places: Array, values: dict[str, Array]) -> tuple[Array, dict[str, pl.Series]]:
    order = _order(places, values["open_time"])
    if order is not None:
        places = places[order]
        values = {name: column[order] for name, column in values.items()}
    return places, {column.name: column for column in (_series(name, each) for name, each in values.items())}


def bars(columns: Mapping[str, pl.Series], names: InstrumentNames, wanted: Sequence[str]) -> pl.DataFrame:
    """A frame with the ``wanted`` columns of READ_SCHEMA, in its types, sorted by instrument name and time.

    Without ``instrument_id`` all rows belong to the only instrument.
    """
    numbers, times = columns.get("instrument_id"), columns["open_time"].to_physical().to_numpy()
    places = np.zeros(len(times), np.int64) if numbers is None else names.places(numbers.to_numpy())
    order = _order(places, times)
    if order is not None:
        places = places[order]
    made = {
        name: values if order is None else values.gather(order)
        for name, values in columns.items()
        if name != "instrument_id"
    }
    made |= {name: made[name].cast(UTC_MS) for name in ("open_time", "revision") if name in made}
    if "source_rank" in made:
        made["source"] = _sources(made["source_rank"])
    return _frame(made, names.at(places), wanted)


def _sources(ranks: pl.Series) -> pl.Series:
    """Names of sources; usually all rows have the same one."""
    least, most = ranks.min(), ranks.max()
    if isinstance(least, int) and least == most:
        return _SOURCES.new_from_index(least, len(ranks))
    return _SOURCES[ranks.cast(pl.UInt32)].alias("source")


def _frame(made: dict[str, pl.Series], instruments: pl.Series, wanted: Sequence[str]) -> pl.DataFrame:
    made["instrument"] = instruments
    if "vwap" in wanted:
        made["vwap"] = _vwap(made["quote_volume"].to_numpy(), made["volume"].to_numpy())
    return pl.DataFrame([made[name] for name in wanted])


def _vwap(quote: Array, volume: Array) -> pl.Series:
    """The average price, as in ``market.bars.vwap``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return pl.Series("vwap", np.where(volume > 0, quote / volume, np.nan), nan_to_null=True)


def _values(name: str, data: bytes | None) -> Array:
    if data is None:
        return np.zeros(0)
    return np.frombuffer(data, _LAYOUTS[name], offset=_ARRAY_HEADER)["value"]


def _series(name: str, values: Array) -> pl.Series:
    """One column from the database's numbers; ``source_rank`` becomes names."""
    if name == "recorded_at":
        return pl.Series(name, values.astype(np.int64) + PG_EPOCH_US).cast(UTC_US)
    if name in _MOMENTS:
        return pl.Series(name, (values.astype(np.int64) + PG_EPOCH_US) // 1000).cast(UTC_MS)
    if name == "source_rank":
        return _SOURCES[values.astype(np.uint32)]
    if name == "complete":
        return pl.Series(name, values.astype(np.bool_))
    if name in OPTIONAL_COUNTS:
        counts = values.astype(np.int64)
        stated = pl.Series(name, counts)
        return stated if (counts >= 0).all() else stated.set(pl.Series(counts < 0), None)
    return pl.Series(name, values.astype(np.float64), nan_to_null=name in OPTIONAL_AMOUNTS)


def _order(places: Array, times: Array) -> Array | None:
    """Indices that sort the rows, or None if they are sorted already, as usual."""
    if len(places) < 2:
        return None
    step = np.diff(places)
    if bool(((step > 0) | ((step == 0) & (np.diff(times) > 0))).all()):
        return None
    order: Array = np.lexsort((times, places))
    return order
