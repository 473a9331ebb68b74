"""A source of your own: minutes from CSV files, one per instrument, which some other program writes.

    pip install ./own_source                       # makes `csv_folder` a venue
    export OWN_SOURCE_FOLDER=/data/minutes         # with GOLD-USD.csv: open_time,open,high,low,close,volume
    export CRYPTO_PIPELINE_UNIVERSE_FILE=own_source/universe.toml   # what is collected
    crypto-pipeline up --venue csv_folder --instruments all

Everything else follows: bars are stored with precedence and history, rolled up and checked. Each minute
without a row between others stands in the ledger: nothing was traded, because the source says so (see `trades`).
`crypto-pipeline venues probe csv_folder` asks the venue and shows what it found.

A source is an object with the methods of `crypto_pipeline.venues.Venue`. A source over HTTP derives from
`crypto_pipeline.venues.client.rest_venue.RestVenue` instead, which brings request budgets, retries and paging.
"""

import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from crypto_pipeline.market import Timeframe
from crypto_pipeline.market.bars import TRADE_SCHEMA, UTC_MS, as_bars
from crypto_pipeline.venues import (
    BarsAnswer,
    FetchPlan,
    Listing,
    ListingStatus,
    TradesAnswer,
    UnknownSymbol,
    VenueEntry,
    VenueError,
    VenueStatus,
    VenueTraits,
)

MINUTE = timedelta(minutes=1)
TRAITS = VenueTraits(
    timeframes=frozenset({Timeframe.M1}),  # wider bars are rolled up from these
    states_empty_bars=False,  # a minute in which nothing traded has no row,
    absence_is_silence=True,  # and a minute without a row, between rows, says that nothing traded
    contiguous_trade_ids=False,
)


class CsvFolder:
    """A folder of CSV files as a venue. Times are UTC."""

    name = "csv_folder"
    traits = TRAITS

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def listings(self) -> list[Listing]:
        """An instrument per file, called BASE-QUOTE.csv."""
        names = sorted(path.stem for path in self.folder.glob("*-*.csv"))
        return [
            Listing(name, *name.split("-"), ListingStatus.TRADING, listed=self._edge(name, "min")) for name in names
        ]

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """When the first bar of the file opened."""
        return self._edge(venue_symbol, "min")

    async def first_bars(self, venue_symbol: str) -> dict[Timeframe, datetime]:
        """Only for venues that keep wider bars for longer."""
        return {}

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """When the newest bar of the file opened."""
        return self._edge(venue_symbol, "max")

    async def server_time(self) -> datetime:
        """The venue's clock: files have none, so ours."""
        return datetime.now(UTC)

    async def status(self) -> VenueStatus:
        """Whether the folder is there."""
        there = self.folder.is_dir()
        return VenueStatus(there, datetime.now(UTC) if there else None, f"folder {self.folder}")

    async def bars(self, plan: FetchPlan, *, archive: bool = True) -> AsyncIterator[BarsAnswer]:
        """The minutes of each span, only those that are over."""
        rows, now = self._rows(plan.venue_symbol), datetime.now(UTC)
        over = Timeframe.M1.floor(now)
        for start, end in plan.spans:
            inside = rows.filter(pl.col("open_time").is_between(start, min(end, over), closed="left"))
            made = inside.with_columns(
                instrument=pl.lit(plan.instrument),
                source=pl.lit("venue_historical"),
                complete=pl.lit(True),
                revision=pl.col("open_time") + MINUTE,  # when the source stated the value
            )
            yield BarsAnswer(plan.instrument, plan.timeframe, start, end, as_bars(made), now, "rest")

    async def bars_many(
        self,
        plans: list[FetchPlan],
        *,
        archive: bool = True,
        on_error: Callable[[FetchPlan, VenueError], None] | None = None,
    ) -> AsyncIterator[BarsAnswer]:
        """One file after the other; one that cannot be read costs only itself."""
        for plan in plans:
            try:
                async for answer in self.bars(plan):
                    yield answer
            except VenueError as error:
                if on_error is None:
                    raise
                on_error(plan, error)

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """Asked for where minutes are absent: none, as each minute with a trade has a row up to the newest one."""
        newest = self._edge(venue_symbol, "max")
        if newest is None or end > newest:
            raise VenueError(f"the file of {venue_symbol} ends before {end}")
        return TradesAnswer(start, end, pl.DataFrame(schema=TRADE_SCHEMA), instrument=instrument)

    async def close(self) -> None:
        """Nothing is open."""

    def _rows(self, venue_symbol: str) -> pl.DataFrame:
        path = self.folder / f"{venue_symbol}.csv"
        if not path.is_file():
            raise UnknownSymbol(f"there is no file {path}")
        try:
            frame = pl.read_csv(path, schema_overrides={"open_time": pl.String})
            return frame.with_columns(pl.col("open_time").str.to_datetime(time_zone="UTC").cast(UTC_MS)).sort(
                "open_time"
            )
        except pl.exceptions.PolarsError as error:
            raise VenueError(f"cannot read {path}: {str(error).splitlines()[0]}") from error

    def _edge(self, venue_symbol: str, which: str) -> datetime | None:
        times = self._rows(venue_symbol)["open_time"]
        return times.min() if which == "min" else times.max()  # type: ignore[return-value]


ENTRY = VenueEntry(TRAITS, lambda options: CsvFolder(Path(os.environ["OWN_SOURCE_FOLDER"])))
