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


class NeedsPolarsError(StoreError):
    """In a process that was forked while Polars' threads ran: what was asked for needs them."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs Polars' threads, which a forked process does not have: start workers by 'spawn' or "
            "'forkserver', or read with crypto_pipeline.Reader"
        )
        self.what = what

    def __reduce__(self) -> tuple[type[NeedsPolarsError], tuple[str]]:
        return NeedsPolarsError, (self.what,)
