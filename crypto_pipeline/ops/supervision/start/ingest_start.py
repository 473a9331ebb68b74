"""Starts the ingest of each venue once it has an instrument: a universe may name venues of which none is chosen."""

from __future__ import annotations

import time
from collections.abc import Sequence

from crypto_pipeline.ingest import shards_with_instruments
from crypto_pipeline.ops.supervision.programs import SupervisedProgram
from crypto_pipeline.ops.supervision.start.initial_instruments import chosen_instruments
from crypto_pipeline.ops.supervision.supervisord import Supervisord
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError

#: Seconds between two looks for instruments of venues that had none.
_LOOK_EVERY = 5.0


class IngestStart:
    """The ingest programs that are not started yet, because their venue has no instrument."""

    def __init__(self, settings: Settings, database_url: str, programs: Sequence[SupervisedProgram]) -> None:
        self._settings, self._url = settings, database_url
        self.waiting = [program for program in programs if program.venue is not None]
        self._looked = 0.0

    def start(self, client: Supervisord) -> None:
        """Start those whose venue has an instrument. Raises StoreError, and ConnectionError without supervisord."""
        if not self.waiting:
            return
        self._looked = time.monotonic()
        with Store(self._url) as store:
            venues = {shard.venue for shard in shards_with_instruments(self._settings, store)}
            if not store.instruments.ids():  # a new deployment, which adds them in a moment
                venues = {one.venue or self._settings.venue for one in chosen_instruments(self._settings)}
        for program in [each for each in self.waiting if each.venue in venues]:
            client.start(program.name)
            self.waiting.remove(program)

    def look(self, client: Supervisord) -> None:
        """The same every five seconds, until all are started. What is away is asked again then."""
        if self.waiting and time.monotonic() - self._looked >= _LOOK_EVERY:
            try:
                self.start(client)
            except (StoreError, ConnectionError):  # the guardian starts both again
                pass
