"""The one error that this room raises for people to read."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot do what was asked: one clear line with the value at fault and the fix."""
