"""The form of a message: a title, plain text, and the same as blocks of Slack, within Slack's limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

#: Slack's limits: characters of a header, of a text in a block and of a whole message; blocks of a message.
HEADER, BLOCK_TEXT, MESSAGE_TEXT, BLOCKS = 150, 3_000, 12_000, 50
#: What a message says that an attempt was made before of which it is not known whether it arrived.
MAY_REPEAT = "May repeat: it is not known whether an earlier copy of this message arrived."
SYMBOLS = {"critical": ":red_circle:", "error": ":large_orange_circle:", "warning": ":large_yellow_circle:"}
RECOVERED = ":large_green_circle:"

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A message as it is stored in the outbox.

    Attributes:
        title: One line.
        text: The whole message as plain text, without the title.
        severity: Of the gravest thing that it tells: critical, error, warning or info.
        blocks: The whole message, with the title, as blocks of Slack.
        files: Pictures that belong to it, by title: paths on this machine. Slack gets them by bot token.
    """

    title: str
    text: str
    severity: str = "info"
    blocks: Sequence[Block] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Announcement:
        """The message that ``body`` of the outbox holds."""
        return cls(
            str(body["title"]), str(body["text"]), str(body["severity"]), list(body["blocks"]), dict(body["files"])
        )

    def body(self) -> dict[str, Any]:
        """The message for the outbox, JSON-ready."""
        return asdict(self)

    @property
    def whole_text(self) -> str:
        """Title and text, for channels without blocks."""
        return f"{self.title}\n{self.text}".strip()


def header(text: str) -> Block:
    """A block with a large line."""
    return {"type": "header", "text": {"type": "plain_text", "text": cut(text, HEADER), "emoji": True}}


def section(text: str) -> Block:
    """A block with text in Slack's markup; what comes from elsewhere must be escaped with ``escaped`` before."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, BLOCK_TEXT)}}


def fields(pairs: Iterable[tuple[str, str]]) -> Block:
    """A block with at most ten short fields: name and value, both plain text."""
    shown = [f"*{escaped(name)}*\n{escaped(cut(value, 1_500))}" for name, value in list(pairs)[:10]]
    return {"type": "section", "fields": [{"type": "mrkdwn", "text": text} for text in shown]}


def small_print(text: str) -> Block:
    """A block with small text in Slack's markup."""
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(text, BLOCK_TEXT)}]}


def divider() -> Block:
    """A line between blocks."""
    return {"type": "divider"}


def within_limits(blocks: Sequence[Block]) -> list[Block]:
    """The blocks that Slack takes; a last one says that there are more."""
    if len(blocks) <= BLOCKS:
        return list(blocks)
    return [*blocks[: BLOCKS - 1], small_print(f"… and {len(blocks) - BLOCKS + 1} more parts")]


def escaped(text: str) -> str:
    """Text without meaning for Slack's markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, most: int) -> str:
    """Text of at most so many characters; an ellipsis shows that some are missing."""
    return text if len(text) <= most else text[: most - 1] + "…"


def moment_text(at: datetime) -> str:
    """A time as people read it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def length_text(length: timedelta) -> str:
    """A length of time as people read it: ``45 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
