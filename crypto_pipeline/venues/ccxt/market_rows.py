"""Finds the rows of an exchange's list of markets that cannot be read. ccxt reads the list as a whole or not at all.

The documents that the exchange gave are read again without some of their rows until the rows that fail are known.
Nothing is asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crypto_pipeline.venues.protocol import VenueError

#: Where in the documents a table of rows stands: the number of its document, then keys and places.
_Path = tuple[str | int, ...]
#: For each table the rows that are read: places in a list, or keys of an object.
_Kept = Mapping[_Path, Collection[str | int]]
#: Reads documents, and tells how many markets they have. Raises VenueError where a row cannot be read.
Read = Callable[[Sequence[Any]], Awaitable[int]]

#: Greatest number of readings: a list with more unreadable rows than these show is refused as a whole.
_MOST_READINGS = 20_000
#: An object with at least so many values, most of them objects, has one row for each key.
_ROWS_OF_AN_OBJECT = 3


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of a list of markets that cannot be read, and why."""

    row: Any
    why: str


async def without_unreadable_rows(documents: Sequence[Any], read: Read) -> tuple[list[Any], list[UnreadableRow]]:
    """The documents without the rows for which ``read`` fails, and these rows.

    Raises VenueError where no market is left, and where more than 20,000 readings do not show the rows.
    """
    search = _Search(documents, read)
    tables = {path: keys for number, document in enumerate(documents) for path, keys in _tables(document, (number,))}
    best: tuple[int, _Kept, list[UnreadableRow]] = 0, {}, []
    for path in tables:  # mostly the unreadable rows are in one table, and rows of others are needed to read it
        if await search.fault({**tables, path: ()}) is None:
            kept, unreadable = await search.sift(tables, path, list(tables[path]))
            count = await search.count({**tables, path: kept})
            best = max(best, (count, {**tables, path: kept}, unreadable), key=lambda result: result[0])
    if not best[0]:
        best = await search.sift_all(tables)
    return search.documents(best[1]), best[2]


class _Search:
    """Reads parts of documents, and counts how often."""

    def __init__(self, documents: Sequence[Any], read: Read) -> None:
        self._documents, self._read, self._readings = documents, read, 0

    def documents(self, kept: _Kept) -> list[Any]:
        """The documents with the rows ``kept`` of their tables."""
        inner = {path[:length] for path in kept for length in range(len(path))}
        return [_part(each, (number,), kept, inner) for number, each in enumerate(self._documents)]

    async def count(self, kept: _Kept) -> int:
        """How many markets the rows ``kept`` are. Raises VenueError."""
        self._readings += 1
        await asyncio.sleep(0)  # other tasks go on between two readings
        return await self._read(self.documents(kept))

    async def fault(self, kept: _Kept) -> VenueError | None:
        """Why the rows ``kept`` cannot be read; None where they can."""
        try:
            await self.count(kept)
        except VenueError as error:
            return error
        return None

    async def sift(
        self, kept: _Kept, path: _Path, keys: list[str | int]
    ) -> tuple[list[str | int], list[UnreadableRow]]:
        """Of the rows ``keys`` of one table those that can be read while ``kept`` says what is read of the others, and
        the rest: a part that cannot be read is halved. Raises VenueError after too many readings.
        """
        error = await self.fault({**kept, path: keys})
        if error is None:
            return keys, []
        if len(keys) == 1:
            row: Any = self._documents
            for key in (*path, keys[0]):
                row = row[key]
            return [], [UnreadableRow(row, str(error))]
        if self._readings > _MOST_READINGS:
            raise error
        half = len(keys) // 2
        first, first_unreadable = await self.sift(kept, path, keys[:half])
        second, second_unreadable = await self.sift(kept, path, keys[half:])
        return [*first, *second], [*first_unreadable, *second_unreadable]

    async def sift_all(self, tables: _Kept) -> tuple[int, _Kept, list[UnreadableRow]]:
        """How many markets there are without the unreadable rows of all tables, the other rows, and these.

        Begins without any row. Raises VenueError where no market is left.
        """
        kept: dict[_Path, Collection[str | int]] = dict.fromkeys(tables, ())
        if (error := await self.fault(kept)) is not None:
            raise error
        unreadable: list[UnreadableRow] = []
        for path, keys in tables.items():
            kept[path], rows = await self.sift(kept, path, list(keys))
            unreadable += rows
        count = await self.count(kept)
        if not count and (error := await self.fault(tables)) is not None:
            raise error
        return count, kept, unreadable


def _tables(node: Any, path: _Path) -> Iterator[tuple[_Path, list[str | int]]]:
    """The lists of rows of a document, and its objects that have one row for each key; with their places or keys."""
    if isinstance(node, list):
        if _is_list_of_tables(node):
            for place, each in enumerate(node):
                yield from _tables(each, (*path, place))
        elif node:
            yield path, list(range(len(node)))
    elif isinstance(node, dict):
        rows = sum(isinstance(each, dict) for each in node.values())
        if len(node) >= _ROWS_OF_AN_OBJECT and 2 * rows > len(node):
            yield path, list(node)
        else:
            for key, each in node.items():
                yield from _tables(each, (*path, key))


def _is_list_of_tables(node: list[Any]) -> bool:
    """Whether all elements are lists, one of them a list of mostly lists and objects."""
    return all(isinstance(each, list) for each in node) and any(
        2 * sum(isinstance(row, list | dict) for row in each) > len(each) for each in node
    )


def _part(node: Any, path: _Path, kept: _Kept, inner: Collection[_Path]) -> Any:
    """A document with the rows ``kept`` of its tables. ``inner``: the paths above these."""
    if path in kept:
        rows = {key: node[key] for key in kept[path]}
        return list(rows.values()) if isinstance(node, list) else rows
    if path not in inner:
        return node
    if isinstance(node, list):
        return [_part(each, (*path, place), kept, inner) for place, each in enumerate(node)]
    return {key: _part(each, (*path, key), kept, inner) for key, each in node.items()}
