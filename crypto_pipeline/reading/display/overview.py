"""How a reader is shown: its database; in a notebook also what is collected there."""

from __future__ import annotations

from html import escape

import polars as pl

from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.portable_url import without_password

#: Seconds that showing a reader may wait for its database.
_PATIENCE = 2.0
_COLUMNS = ("timeframe", "instruments", "first_day", "last_day", "present", "missing")


class ShownReader:
    """The part of a reader that shows it. The password is never shown."""

    store: Store

    def __repr__(self) -> str:
        # asks nothing: debuggers and logs call this
        return f"<{type(self).__name__} of {without_password(self.store.url)}>"

    def _repr_html_(self) -> str:
        return f"<p><code>{escape(repr(self))}</code></p>{_collected(self.store.url)}"


def _collected(url: str) -> str:
    """What is collected, by timeframe, as HTML; a line where the database does not say."""
    if fork_safety.without_polars():
        return ""
    try:
        with Store(url, connections=1, patience=_PATIENCE, statement_timeout=_PATIENCE) as store:
            totals = store.coverage.summary().select(_COLUMNS)
    except StoreError as error:
        return f"<p>{escape(str(error))}</p>"
    if totals.is_empty():
        return "<p>Nothing is collected yet: is <code>crypto-pipeline up</code> running?</p>"
    with pl.Config(tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, thousands_separator=","):
        return totals.rename({"present": "bars"})._repr_html_()
