"""What is said of one requirement, and the exit code that follows from all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: ``note``: it will do, with a drawback. ``unknown``: it could not be looked at; another finding says why.
RequirementStatus = Literal["ok", "note", "bad", "unknown"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a deployment needs.

    Attributes:
        name: What it is.
        status: Whether it will do.
        found: What is there.
        fix: What to do; empty where nothing has to be done.
    """

    name: str
    status: RequirementStatus
    found: str
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def exit_code(found: Iterable[Requirement]) -> int:
    """1 where anything is bad, else 0: what is only a note, or unknown, keeps nothing from starting."""
    return int(any(one.status == "bad" for one in found))
