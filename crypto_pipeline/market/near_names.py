"""Names that somebody may have meant: the hint of every message about an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_names(text: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The names of ``known`` that are most like ``text``, whatever their capitals, the nearest first.

    ``most``: so many at most. ``cutoff``: how alike they must be, from 0 to 1.
    """
    by_capitals = {name.upper(): name for name in known}
    return [by_capitals[name] for name in difflib.get_close_matches(text.upper(), by_capitals, most, cutoff)]


def did_you_mean(names: Iterable[str]) -> str:
    """``did you mean A or B?``; empty where there is no name."""
    text = " or ".join(names)
    return f"did you mean {text}?" if text else ""
