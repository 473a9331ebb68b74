"""The error that this room raises for people to read, and those of its kind that callers tell apart."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot do what was asked: one clear line with the value at fault and the fix."""


class UnknownInstrumentError(StoreError):
    """A name that is not collected."""


class DatabaseAwayError(StoreError):
    """PostgreSQL did not answer for as long as the caller was ready to wait; later it may."""


class QueryTooLongError(StoreError):
    """The server cancelled a read that took longer than is allowed."""
