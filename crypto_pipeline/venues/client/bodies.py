"""Reads response bodies piece by piece, unpacks them and counts bytes: a body has a greatest size for its request."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import httpx

from crypto_pipeline.venues.protocol import MalformedAnswer, TruncatedBody

#: Default greatest size of a body in bytes (a time, a status, a checksum).
SMALL = 64 * 1024
#: Bytes read of an error's body: enough for a code and a text.
REFUSAL = 16 * 1024


def rows_bound(rows: int, bytes_a_row: int = 512) -> int:
    """Greatest size in bytes of a body with ``rows`` rows; a row of any venue has less than 300 bytes."""
    return SMALL + rows * bytes_a_row


async def read_body(response: httpx.Response, most: int) -> bytes:
    """The whole body, unpacked. Raises MalformedAnswer when it is larger than ``most`` bytes or cannot be unpacked."""
    stated = _stated_length(response)
    if stated > most:
        raise MalformedAnswer(f"its Content-Length is {stated:,} bytes, more than the {most:,} allowed")
    unpack = _unpacker(response)
    body = bytearray()
    try:
        async with _pieces(response) as pieces:
            async for piece in pieces:
                body += unpack(piece, most + 1 - len(body))
                if len(body) > most:
                    raise MalformedAnswer(f"its body has more than the {most:,} bytes allowed")
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise TruncatedBody(f"truncated answer ({error})") from error
    unpack(b"", 0)
    return bytes(body)


async def read_start(response: httpx.Response, most: int = REFUSAL) -> bytes:
    """The first bytes of a body, unpacked as far as possible; the rest is not read."""
    body = bytearray()
    try:
        unpack = _unpacker(response)
        async with _pieces(response) as pieces:
            async for piece in pieces:
                body += unpack(piece, most - len(body))
                if len(body) >= most:
                    break
    except (MalformedAnswer, httpx.RemoteProtocolError, httpx.ReadError):
        pass  # the HTTP status of an error is enough
    return bytes(body)


def _pieces(response: httpx.Response) -> aclosing[AsyncGenerator[bytes, None]]:
    """The raw pieces of the body; httpx declares the generator only as an iterator."""
    return aclosing(cast(AsyncGenerator[bytes, None], response.aiter_raw()))


def _stated_length(response: httpx.Response) -> int:
    """The Content-Length in bytes, 0 if there is none."""
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isascii() and stated.isdigit() else 0


Unpack = Callable[[bytes, int], bytes]


def _unpacker(response: httpx.Response) -> Unpack:
    """A function that unpacks one piece into at most the given bytes. Called with b"" at the end, it raises
    TruncatedBody unless the packed body is complete."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return lambda piece, most: piece[:most] if len(piece) > most else piece
    if encoding not in ("gzip", "deflate"):
        raise MalformedAnswer(f"its body is packed as {encoding[:40]!r}, which was not requested")
    packed: zlib._Decompress | None = None

    def unpack(piece: bytes, most: int) -> bytes:
        nonlocal packed
        if packed is None:
            if not piece:
                return b""
            # most servers send "deflate" with the header of zlib, some without
            bare = encoding == "deflate" and piece[0] & 0x0F != 8
            packed = zlib.decompressobj(-15 if bare else 47)
        try:
            if piece:
                if packed.eof:
                    raise MalformedAnswer("bytes follow the end of its packed body")
                return packed.decompress(piece, max(most, 1))
        except zlib.error as error:
            raise MalformedAnswer(f"its body cannot be unpacked ({error})") from error
        if not packed.eof:
            raise TruncatedBody("its packed body is incomplete")
        return b""

    return unpack
