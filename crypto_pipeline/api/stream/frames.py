"""Frames of the protocol beside rows: what the server says, and what a client may ask. They describe themselves.

Every frame is a JSON object in a text message of the websocket. Times are Unix milliseconds (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from crypto_pipeline.api.stream.names import LONGEST
from crypto_pipeline.api.stream.sources.rows import Moment

#: Channels of one client, and characters of a text that it sends.
MOST_CHANNELS = 300
Text = Annotated[str, Meta(max_length=LONGEST)]
ChannelText = Annotated[str, Meta(description="Name of the channel.", examples=["prices", "bars/BTC-USDT/1m"])]
Sequence = Annotated[int, Meta(ge=0, description="Number of the channel's newest frame, the same for every client.")]
#: Kinds of frames with rows: everything; what changed; everything, instead of frames that a slow client missed.
RowsKind = Literal["snapshot", "delta", "conflated"]


class Hello(Struct, tag="hello", tag_field="type", forbid_unknown_fields=True):
    """The first frame of a connection."""

    protocol: Annotated[int, Meta(description="Version of the protocol.")]
    epoch: Annotated[str, Meta(description="Of the server's process: sequences go on only within it.")]
    time: Moment
    market_time: Annotated[int, Meta(description="The market's time, Unix milliseconds, UTC.")]


class HeartbeatFrame(Struct, tag="heartbeat", tag_field="type", forbid_unknown_fields=True):
    """Sent every 5 s to clients that take their frames. A client that hears nothing for 15 s connects anew."""

    time: Moment
    market_time: Annotated[int, Meta(description="The market's time, Unix milliseconds, UTC.")]
    database: Annotated[Literal["ok", "away"], Meta(description="Whether the server hears of changes.")]


class Resumed(Struct, tag="resumed", tag_field="type", forbid_unknown_fields=True):
    """The channel goes on where the client left it: every frame after ``seq`` follows."""

    channel: ChannelText
    seq: Sequence


class Changed(Struct, tag="changed", tag_field="type", forbid_unknown_fields=True):
    """Stored bars changed that the channel does not keep. Read these spans again, over HTTP."""

    channel: ChannelText
    seq: Sequence
    spans: Annotated[
        list[tuple[int, int]], Meta(description="Begin and end of each span, Unix milliseconds; half-open.")
    ]


class StreamError(Struct, tag="error", tag_field="type", forbid_unknown_fields=True, omit_defaults=True):
    """A message or a channel was refused; the connection goes on."""

    detail: Annotated[str, Meta(description="What is wrong, and what to do.")]
    channel: ChannelText | None = None


class WantedChannel(Struct, forbid_unknown_fields=True):
    """A channel to follow. ``epoch`` and ``after``: where it was left, to go on from there."""

    channel: Annotated[str, Meta(max_length=LONGEST, description="Name of the channel.")]
    epoch: Annotated[str | None, Meta(description="Of the ``hello`` of that connection.")] = None
    after: Annotated[int, Meta(ge=0, description="Number of the last frame that was taken.")] | None = None


class Subscribe(Struct, tag="subscribe", tag_field="op", forbid_unknown_fields=True):
    """Follow channels. Each answers with ``snapshot``, ``resumed`` or ``error``."""

    channels: Annotated[list[WantedChannel], Meta(min_length=1, max_length=MOST_CHANNELS)]


class Unsubscribe(Struct, tag="unsubscribe", tag_field="op", forbid_unknown_fields=True):
    """Follow channels no longer."""

    channels: Annotated[list[Text], Meta(min_length=1, max_length=MOST_CHANNELS)]


ServerFrame = Hello | HeartbeatFrame | Resumed | Changed | StreamError
ClientMessage = Subscribe | Unsubscribe

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ClientMessage)


def encoded(frame: ServerFrame) -> str:
    """A frame as text."""
    return _encoder.encode(frame).decode()


def encoded_rows(kind: RowsKind, channel: str, seq: int, rows: Iterable[object]) -> str:
    """A frame with rows as text."""
    return _encoder.encode({"type": kind, "channel": channel, "seq": seq, "rows": list(rows)}).decode()


def decoded(message: str | bytes) -> ClientMessage:
    """What a client asks. Raises ValueError for anything else."""
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ValueError(f"this message is not understood: {error}") from None
