"""Conversion of Python values for PostgreSQL, and the common fields of refused bars and trades."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol

#: Greatest number of rows recorded per call; the log says if there were more.
MOST = 1_000


def plain(value: Any) -> Any:
    """``value`` for ``jsonb``: NaN and infinity become text, zero bytes are removed."""
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
    """``value`` as JSON text for a ``jsonb`` column; values without a JSON form become text."""
    return json.dumps(plain(value), default=str)


class RefusedRow(Protocol):
    """An invalid row of a venue; ``ms`` is in Unix milliseconds."""

    @property
    def ms(self) -> int | None:
        """Open time of the bar, or time of the trade."""

    @property
    def trade_id(self) -> int | None:
        """The venue's id of a trade."""

    @property
    def reason(self) -> str:
        """Why the row is invalid."""

    @property
    def said(self) -> str:
        """The row as text."""


def without_zero_bytes(text: str) -> str:
    """``text`` for PostgreSQL, with zero bytes replaced by U+FFFD."""
    return text.replace("\x00", "�")
