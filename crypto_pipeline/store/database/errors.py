"""StoreError, which ``store`` raises for people, and its subclasses that callers handle differently."""

from __future__ import annotations


class StoreError(Exception):
    """An operation of the store failed; the message is one line with the value at fault and the fix."""


class UnknownNameError(StoreError):
    """Nothing with this name is collected."""


class UnknownInstrumentError(UnknownNameError):
    """An instrument's name is not collected."""


class DatabaseAwayError(StoreError):
    """PostgreSQL did not answer within the caller's time limit; a later attempt may succeed."""


class QueryTooLongError(StoreError):
    """The server cancelled a read that exceeded its time limit."""


class NeedsPolarsError(StoreError):
    """The operation needs Polars' threads, which a process does not have that was forked while they ran."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs Polars' threads, which a forked process does not have: start workers by 'spawn' or "
            "'forkserver', or read with crypto_pipeline.Reader"
        )
        self.what = what

    def __reduce__(self) -> tuple[type[NeedsPolarsError], tuple[str]]:
        return NeedsPolarsError, (self.what,)
