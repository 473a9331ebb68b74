"""Values of Python as PostgreSQL takes them, and what refused bars and trades have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol

#: Rows that are kept of one call. That there were more is in the log.
MOST = 1_000


def plain(value: Any) -> Any:
    """``value`` without what ``jsonb`` refuses: NaN and infinity become text, zero bytes are removed."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, Mapping):
        return {str(key).replace("\x00", ""): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value


def json_text(value: Any) -> str:
    """``value`` as JSON text for a ``jsonb`` column; what JSON has no form for is written as text."""
    return json.dumps(plain(value), default=str)


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


def without_zero_bytes(text: str) -> str:
    """``text`` as PostgreSQL takes it: zero bytes are replaced by U+FFFD."""
    return text.replace("\x00", "�")
