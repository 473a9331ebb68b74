"""The tables of labels: common columns, and the columns of each strategy, for frames and SQL.

Times are UTC, prices in the quote asset, returns and distances fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import polars as pl

from crypto_pipeline.market.bars import UTC_MS

#: Types of the columns of labels.
FLOAT, INT, TEXT, BOOL = pl.Float64(), pl.Int32(), pl.String(), pl.Boolean()
#: Common columns of all labels: dtype and meaning.
_COMMON: dict[str, tuple[pl.DataType, str]] = {
    "signal_ts": (UTC_MS, "Open of the signal bar, the key of its features; the signal is known 15 minutes later."),
    "entry_ts": (UTC_MS, "Open of the entry bar."),
    "entry_px": (FLOAT, "Open of the entry bar, the price of the first order."),
    "take_profit": (FLOAT, "The upper barrier; of a grid on the average of the orders that were filled."),
    "stop_loss": (FLOAT, "The lower barrier."),
    "horizon": (INT, "Bars after which it ends by time."),
    "outcome": (TEXT, "What came first: TP, SL or TIME."),
    "label_end_ts": (UTC_MS, "Close of the bar that ended it: from here on the label is known."),
    "bars_to_touch": (INT, "Bars held, the entry bar included."),
    "exit_px": (FLOAT, "The price at which it ended."),
    "gross_return": (FLOAT, "Return on the average entry."),
    "net_return": (FLOAT, "The same less slippage of what is sent to the market, and fees on both sides."),
    "mae": (FLOAT, "Lowest price while held, relative to entry_px: at most 0."),
    "mfe": (FLOAT, "Highest price while held, relative to entry_px: at least 0."),
    "ambiguous": (TEXT, "Whether one bar could have ended it in two ways, and what decided: no, minutes, assumed."),
    "uniqueness": (
        FLOAT,
        "Mean share that it has in the bars it was held, among the labels of its instrument; 0 to 1.",
    ),
    "outcome_class": (TEXT, "WIN, LOSS, BREAKEVEN or TIMEOUT."),
    "tier": (TEXT, "Tier of the instrument, which decides exits and costs."),
}
_PROVENANCE: dict[str, tuple[pl.DataType, str]] = {
    "params_hash": (TEXT, "What it was computed with: research.label_parameters."),
    "data_version": (TEXT, "What it was computed from, when its values were written."),
    "recorded_at": (pl.Datetime("us", "UTC"), "Since when it is the truth here; as-of reads go by it."),
}


_TYPES = {"float": FLOAT, "int": INT, "text": TEXT, "bool": BOOL}


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The table ``research.strategy_<strategy>_labels``; its superseded rows are in ``…_label_revisions``.

    ``measures``: the strategy's own columns, after the common ones: type and meaning.
    """

    strategy: str
    measures: Mapping[str, tuple[pl.DataType, str]]

    @classmethod
    def from_text(cls, strategy: str, measures: str) -> Self:
        """``measures``: one a line, with its name, its type (float, int, text or bool) and what it means."""
        rows = (line.split(maxsplit=2) for line in measures.strip().splitlines())
        return cls(strategy, {name: (_TYPES[kind], meaning) for name, kind, meaning in rows})

    @property
    def name(self) -> str:
        """The table's name in SQL."""
        return f"research.strategy_{self.strategy}_labels"

    @property
    def revisions(self) -> str:
        """The name of the table of superseded rows in SQL."""
        return f"research.strategy_{self.strategy}_label_revisions"

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Columns of computed labels."""
        return {name: dtype for name, (dtype, _) in (_COMMON | dict(self.measures)).items()}

    @cached_property
    def stored_schema(self) -> dict[str, pl.DataType]:
        """Columns of stored labels: instrument, then ``schema``, then provenance."""
        return {"instrument": TEXT, **self.schema} | {name: dtype for name, (dtype, _) in _PROVENANCE.items()}

    @cached_property
    def meanings(self) -> dict[str, str]:
        """Meaning of each column of ``stored_schema``."""
        columns = _COMMON | dict(self.measures) | _PROVENANCE
        return {"instrument": "Symbol, as in market.instruments."} | {name: text for name, (_, text) in columns.items()}
