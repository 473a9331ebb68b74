"""Decodes JSON bodies, row by row if the whole fails: an invalid row does not affect the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from crypto_pipeline.venues.protocol import MAX_QUOTED, MalformedAnswer, RejectedRow, shorten

T = TypeVar("T")

#: Errors that decoding a document may raise, whatever it contains.
UNREADABLE = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)
_RAW_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, where: str) -> T:
    """Decode a body. Raises MalformedAnswer that names ``where`` and the position in the document."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise MalformedAnswer(f"{where}: {_why(error)}") from error


def raw_rows(body: bytes | msgspec.Raw, where: str) -> list[msgspec.Raw]:
    """Rows of a list, undecoded. Raises MalformedAnswer if the body is not a list."""
    return _decode_parts(_RAW_ROWS, list, body, where, lambda rows: [_raw(row) for row in rows])


def raw_fields(body: bytes | msgspec.Raw, where: str) -> dict[str, msgspec.Raw]:
    """Values of an object, undecoded. Raises MalformedAnswer if the body is not an object."""

    def encoded(fields: dict[Any, Any]) -> dict[str, msgspec.Raw]:
        return {shorten(name): _raw(value) for name, value in fields.items()}

    return _decode_parts(_RAW_FIELDS, dict, body, where, encoded)


def _decode_parts(
    decoder: msgspec.json.Decoder[T], kind: type, body: bytes | msgspec.Raw, where: str, encoded: Callable[[Any], T]
) -> T:
    """The parts of a document; ``encoded`` makes them of a document of ``kind`` that only Python's decoder reads."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        lenient = _leniently(body)
        if not isinstance(lenient, kind):
            raise MalformedAnswer(f"{where}: {_why(error)}") from error
        return encoded(lenient)


def document(body: bytes | str) -> object:
    """Decode any JSON. Values that only Python's decoder accepts become texts. Raises MsgspecError or ValueError."""
    try:
        return msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return _cleaned(json.loads(body))


def _leniently(body: bytes | msgspec.Raw) -> object:
    """Decode by Python's decoder: msgspec rejects a whole document for half a surrogate pair in one text."""
    try:
        return json.loads(bytes(body))
    except UNREADABLE:
        return None


def _raw(value: object) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except UNREADABLE:
        return msgspec.Raw(msgspec.json.encode(_cleaned(value)))


def _cleaned(value: object) -> object:
    """Replace values that JSON does not allow by texts, so that only the row that has one is unreadable."""
    if isinstance(value, dict):
        return {str(_cleaned(name)): _cleaned(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return (
        value if not isinstance(value, int) or -(2**63) <= value < 2**64 else f"a number of {value.bit_length()} bits"
    )


def decode_rows(
    rows: list[msgspec.Raw],
    row: msgspec.json.Decoder[T],
    where: str,
    read_ms: Callable[[Any], int | None],
    read_id: Callable[[Any], int | None] = lambda _: None,
    *,
    some: bool = False,
) -> tuple[list[T], list[RejectedRow]]:
    """Decode rows one by one: the valid rows, and the rejected ones with reasons.

    ``read_ms`` and ``read_id`` read time (Unix ms) and id from a row of any shape; None if absent. With ``some``,
    raises MalformedAnswer if no row is readable, because then the whole answer is bad.
    """
    good: list[T] = []
    refused: list[RejectedRow] = []
    for place, raw in enumerate(rows):
        try:
            good.append(row.decode(raw))
        except UNREADABLE as error:
            found = _anything(raw)
            refused.append(
                RejectedRow(
                    _tried(read_ms, found), f"{where}, row {place}: {_why(error)}", quoted(raw), _tried(read_id, found)
                )
            )
    if some and refused and not good:
        raise MalformedAnswer(refused[0].reason)
    return good, refused


def decode_list(
    rows: msgspec.json.Decoder[list[T]],
    row: msgspec.json.Decoder[T],
    body: bytes | msgspec.Raw,
    where: str,
    read_ms: Callable[[Any], int | None],
    read_id: Callable[[Any], int | None],
) -> tuple[list[T], list[RejectedRow]]:
    """Decode a list at once, or row by row if that fails; see ``decode_rows``. Raises MalformedAnswer."""
    try:
        return rows.decode(body), []
    except UNREADABLE:
        return decode_rows(raw_rows(body, where), row, where, read_ms, read_id)


def quoted(raw: bytes | msgspec.Raw | object) -> str:
    """The start of a message or row as text, for messages."""
    if isinstance(raw, bytes | msgspec.Raw):
        return shorten(bytes(memoryview(raw)[: 2 * MAX_QUOTED]).decode(errors="replace"))
    return shorten(str(raw))


def whole(value: object) -> int | None:
    """A whole number, given as a number or a text; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 2**63 else None


def _anything(raw: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return None


def _tried(read: Callable[[Any], int | None], found: object) -> int | None:
    try:
        return read(found)
    except UNREADABLE:
        return None


def _why(error: BaseException) -> str:
    return shorten(str(error) or type(error).__name__)
