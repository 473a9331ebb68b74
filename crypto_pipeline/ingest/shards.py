"""The shards of ingest: parts of the instruments of one venue, each ingested by one process at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import collected_venues, streams, venue_entry

if TYPE_CHECKING:
    from crypto_pipeline.store import Store


@dataclass(frozen=True, slots=True)
class IngestShard:
    """Shard ``number`` of ``count`` of the instruments of ``venue``.

    ``label`` is unique in a deployment: the number for the first venue, ``kraken-0`` for another.
    """

    venue: str
    number: int
    count: int
    label: str

    @property
    def first(self) -> bool:
        """Whether its venue is the first one of the deployment."""
        return self.label.isdigit()

    @property
    def name(self) -> str:
        """Name of its lease, of its heartbeat row and of its program."""
        return heartbeat_name(self.label)


def heartbeat_name(label: str | int) -> str:
    """Name of the lease and of the heartbeat row of the shard with this label."""
    return f"ingest-{label}"


def ingest_shard(settings: Settings, number: int, count: int, venue: str | None = None) -> IngestShard:
    """One shard of ``venue`` (None: the first one of the deployment)."""
    first = collected_venues(settings)[0]
    of = first if venue is None else venue
    return IngestShard(of, number, count, str(number) if of == first else f"{of}-{number}")


def ingest_shards(settings: Settings) -> list[IngestShard]:
    """Every shard of a deployment, those of the first venue first; a venue without a stream has none.

    A venue that allows one connection to a key has one.
    """
    return [
        ingest_shard(settings, number, count, venue)
        for venue in collected_venues(settings)
        if streams(settings, venue)
        for count in [1 if venue_entry(venue).single_connection else settings.ingest_shards]
        for number in range(count)
    ]


def shards_with_instruments(settings: Settings, store: Store) -> list[IngestShard]:
    """The shards of the venues that have an active instrument; the only venue of a deployment always has its shards.

    Raises StoreError.
    """
    shards = ingest_shards(settings)
    if not shards or len(collected_venues(settings)) == 1:
        return shards
    venues = store.instruments.venues(settings.venue)
    return [shard for shard in shards if shard.venue in venues]
