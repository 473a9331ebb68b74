"""The one error of the room that a person reads."""

from __future__ import annotations


class ReplayError(Exception):
    """The exchange cannot start or cannot be used so: one clear line that names the value and the fix."""
