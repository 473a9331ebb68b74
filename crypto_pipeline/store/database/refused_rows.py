"""What bars and trades that are refused have in common on their way into their tables."""

from __future__ import annotations

from typing import Protocol

#: Rows that are kept of one call. That there were more is in the log.
MOST = 1_000


class RefusedRow(Protocol):
    """What a venue stated and what is not believed; ``ms`` in Unix milliseconds."""

    @property
    def ms(self) -> int | None:
        """When."""

    @property
    def trade_id(self) -> int | None:
        """The venue's id."""

    @property
    def reason(self) -> str:
        """Why."""

    @property
    def said(self) -> str:
        """What was stated."""


def shown(text: str) -> str:
    """``text`` as PostgreSQL takes it: zero bytes are replaced by U+FFFD."""
    return text.replace("\x00", "�")
