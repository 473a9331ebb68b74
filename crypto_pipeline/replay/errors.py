"""The error that ``replay`` raises for people."""

from __future__ import annotations


class ReplayError(Exception):
    """The exchange cannot start, or a person's input is wrong; the message is one line with the value and the fix."""
