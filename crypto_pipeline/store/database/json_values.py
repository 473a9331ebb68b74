"""Values of Python as PostgreSQL's ``jsonb`` takes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


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
