"""The names of the venues, read from ``venues/names.txt``: settings need them and import no venue."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache
def _marks() -> dict[str, list[str]]:
    """The venues by name, with what is said of each."""
    lines = (Path(__file__).parent / "venues/names.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {name: marks for name, *marks in names}


@lru_cache
def venue_names(*, first: bool = False) -> tuple[str, ...]:
    """Names of the venues; with ``first`` those that can be the first one, not only stand in for another."""
    return tuple(name for name, marks in _marks().items() if not (first and "standby" in marks))


def has_stream(venue: str) -> bool:
    """Whether live bars can be made of the venue's stream; otherwise its bars come by REST alone."""
    return "rest" not in _marks().get(venue, ("rest",))
