"""What a channel of the stream sends, as Python sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from crypto_pipeline.market.times import from_unix_ms

if TYPE_CHECKING:
    import polars as pl

UpdateKind = Literal["snapshot", "delta", "changed"]
#: Columns with Unix milliseconds.
TIMES = frozenset({
    "acknowledged_at", "anchored_at", "decided_at", "entry_ts", "exit_ts", "moment", "muted_until", "open_time",
    "opened_at", "resolved_at", "signal_ts", "target", "time",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """One update of one channel.

    Attributes:
        channel: Name of the channel, as it was asked for.
        kind: ``snapshot``: ``rows`` are all that there is, and what was known before is void. ``delta``: ``rows``
            replace those of the same key. ``changed``: stored bars changed in ``spans``; read them again.
        rows: As the server sends them: times are Unix milliseconds, UTC.
        spans: Begin and end of each span, aware datetimes in UTC, half-open.
        seq: Number of the update in its channel.
    """

    channel: str
    kind: UpdateKind
    rows: Sequence[Mapping[str, Any]]
    spans: Sequence[tuple[datetime, datetime]]
    seq: int

    def frame(self) -> pl.DataFrame:
        """The rows as a Polars frame; times are Datetime(ms, UTC). ``.to_pandas()`` and ``.to_arrow()`` convert it."""
        import polars as pl

        from crypto_pipeline.market.bars import UTC_MS

        made = pl.DataFrame(list(self.rows), infer_schema_length=None)
        return made.with_columns(pl.col(name).cast(pl.Int64).cast(UTC_MS) for name in made.columns if name in TIMES)

    def __repr__(self) -> str:
        what = f"{len(self.spans)} spans" if self.kind == "changed" else f"{len(self.rows)} rows"
        return f"<{self.kind} of {self.channel}: {what}>"


def update_of(message: Mapping[str, Any]) -> StreamUpdate:
    """The update of a frame of the server; a conflated frame is a snapshot."""
    kind: UpdateKind = "snapshot" if message["type"] == "conflated" else message["type"]
    spans = [span_of(start, end) for start, end in message.get("spans", ())]
    return StreamUpdate(message["channel"], kind, message.get("rows", ()), spans, message["seq"])


def span_of(start_ms: int, end_ms: int) -> tuple[datetime, datetime]:
    """A span of Unix milliseconds as datetimes."""
    return from_unix_ms(start_ms), from_unix_ms(end_ms)
