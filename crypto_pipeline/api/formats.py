"""In which form an answer goes out: by the Accept header its format, by Accept-Encoding its compression."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import orjson
import polars as pl
import pyarrow as pa
from starlette.exceptions import HTTPException

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
#: In the order in which they are offered; the first is what a client gets that takes anything.
MEDIA_TYPES = (JSON, CSV, ARROW, PARQUET)
_ENCODINGS = ("zstd", "gzip")
#: Shorter bodies are not worth compressing.
_WORTH_IT = 1_000
#: Of answers with more rows than this, so many are written at once: one processor is left for short answers and health.
_LARGE = 5_000
_LARGE_AT_ONCE = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1) - 1))


@dataclass(frozen=True, slots=True)
class Form:
    """Media type and content encoding (None: as it is)."""

    media_type: str
    encoding: str | None


@lru_cache(maxsize=1024)
def negotiate(accept: str, accept_encoding: str) -> Form:
    """The best form that the client takes. HTTPException 406 names those there are."""
    media_type = _best(accept or "*/*", MEDIA_TYPES)
    if media_type is None:
        raise HTTPException(406, f"cannot answer in {accept[:200]!r}: accept one of {', '.join(MEDIA_TYPES)}")
    encoding = None if media_type == PARQUET else _best(accept_encoding, _ENCODINGS)
    return Form(media_type, encoding)


def _best(header: str, offered: Sequence[str]) -> str | None:
    """The offered value of highest quality in an Accept-like header; of equals the one that is offered first."""
    weights: dict[str, float] = {}
    for part in header.split(","):
        value, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        weights[value.lower()] = quality
    best, found = 0.0, None
    for value in offered:
        wild = weights.get(f"{value.partition('/')[0]}/*", weights.get("*/*", 0.0)) if "/" in value else 0.0
        weight = weights.get(value, wild)
        if weight > best:
            best, found = weight, value
    return found


def encode(frame: pl.DataFrame, form: Form, head: bytes = b"", tail: bytes = b"", objects: Sequence[str] = ()) -> bytes:
    """The frame's rows in a form; in JSON the list of rows stands between ``head`` and ``tail``.

    ``objects``: columns of JSON text, which in JSON are objects of their own.
    """
    with _LARGE_AT_ONCE if frame.height > _LARGE else nullcontext():
        if objects and form.media_type == JSON:
            return compress(head + _with_objects(frame, objects) + tail, form)
        return compress(_plain(frame, form.media_type, head, tail), form)


def _with_objects(frame: pl.DataFrame, objects: Sequence[str]) -> bytes:
    rows = orjson.loads(_texts(frame).write_json())
    for row in rows:
        for name in objects:
            row[name] = orjson.Fragment(row[name]) if row[name] else None
    return orjson.dumps(rows)


def compress(body: bytes, form: Form) -> bytes:
    """``body`` as the form says."""
    if form.encoding is None or len(body) < _WORTH_IT:
        return body
    packed: bytes = pa.Codec(form.encoding).compress(body, asbytes=True)
    return packed


def encoding_of(body: bytes) -> str | None:
    """How a body that ``compress`` made is encoded; it says so itself."""
    if body[:4] == b"\x28\xb5\x2f\xfd":
        return "zstd"
    return "gzip" if body[:2] == b"\x1f\x8b" else None


def _plain(frame: pl.DataFrame, media_type: str, head: bytes, tail: bytes) -> bytes:
    out = io.BytesIO()
    match media_type:
        case "application/json":
            # into a file: as text it would be copied twice while every other thread waits
            out.write(head)
            _texts(frame).write_json(out)
            out.write(tail)
        case "text/csv":
            _texts(frame).write_csv(out)
        case "application/vnd.apache.arrow.stream":
            frame.write_ipc_stream(out, compat_level=pl.CompatLevel.oldest())
        case _:
            frame.write_parquet(out, compression="zstd")
    return out.getvalue()


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as RFC 3339, to the digit that their type has."""
    digits = {"ms": "%.3f", "us": "%.6f", "ns": "%.9f"}
    return frame.with_columns(
        pl.col(name).dt.strftime(f"%Y-%m-%dT%H:%M:%S{digits[dtype.time_unit]}Z")
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Datetime)
    )
