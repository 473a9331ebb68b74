"""``Tabular``: an answer that holds a frame, as Polars, pandas or Arrow, and small where it is shown."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from crypto_pipeline.store.database import fork_safety

if TYPE_CHECKING:
    import pyarrow as pa

#: What installs pandas.
PANDAS_EXTRA = "pip install 'crypto-pipeline[notebook]'"


class Tabular:
    """A part of answers that hold a frame. In a notebook: one line about the answer, and the frame."""

    __slots__ = ()

    def to_polars(self) -> pl.DataFrame:
        """The answer as a Polars frame; its times are UTC."""
        raise NotImplementedError

    def headline(self) -> str:
        """One line about the answer, without the frame."""
        raise NotImplementedError

    def to_arrow(self) -> pa.Table:
        """The same as an Arrow table."""
        import pyarrow as pa  # takes longer than a read

        # not by Polars' own method, which in a forked process waits for threads that it does not have
        return pa.table(self.to_polars())

    def to_pandas(self) -> Any:
        """The same as a frame of pandas. Raises ModuleNotFoundError that names what to install where it is absent."""
        frame = self.to_polars()
        try:
            import pandas  # noqa: F401  (Polars and Arrow import it, and say less)
        except ModuleNotFoundError:
            raise ModuleNotFoundError(f"pandas is not installed: {PANDAS_EXTRA}", name="pandas") from None
        return self.to_arrow().to_pandas() if fork_safety.without_polars() else frame.to_pandas()

    def __repr__(self) -> str:
        # in a forked process Polars cannot print a frame either
        shown = "" if fork_safety.without_polars() else f"\n{self.to_polars()!r}"
        return f"<{self.headline()}>{shown}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.headline())}</p>{self.to_polars()._repr_html_()}"
