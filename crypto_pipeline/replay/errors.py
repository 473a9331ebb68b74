"""The error of this room that a person reads."""

from __future__ import annotations


class ReplayError(Exception):
    """The exchange cannot start, or a request of a person is wrong: one line that names the value and the fix."""
