"""Reading stored features."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from crypto_pipeline.lake.reads.features import feature_reads
from crypto_pipeline.reading import arguments
from crypto_pipeline.reading.arguments import Moment
from crypto_pipeline.reading.helper_process import needs_polars
from crypto_pipeline.reading.servers.stored_reads import StoredReads


class FeatureReading(StoredReads):
    """The part of a reader that reads features."""

    @needs_polars
    def features(
        self,
        instruments: str | Sequence[str],
        start: Moment,
        end: Moment | None = None,
        *,
        columns: str | Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Stored features of the 15m bars that open in ``[start, end)``, sorted by instrument and time.

        ``end`` is now unless given; ``columns`` are names of features and states (default: all columns of the table).
        The first two columns are ``instrument`` String and ``open_time`` Datetime(ms, UTC); features are Float64, null
        where they are unknown; ``available_at`` is Datetime(ms, UTC). Long spans of many instruments come from the
        mirror's files where these are fresh, with the same values. Raises StoreError for an unknown column or
        instrument, ValueError for a bad time.
        """
        until = arguments.optional(end, "end") or self.store.clock.lately()
        begin, until = arguments.span(arguments.moment(start, "start"), until)
        chosen = None if columns is None else arguments.names(columns, "columns")
        names = arguments.names(instruments)
        return self.from_server(lambda store: feature_reads(store).read(names, begin, until, chosen))
