"""The databases of a deployment: their URLs, and their creation and migration before programs use them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.ops import replay_clock
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.dagster_home import needs_migration, note_version
from crypto_pipeline.ops.supervision.programs import DAGSTER_URL_VARIABLE
from crypto_pipeline.ops.supervision.start.initial_instruments import begin_collecting
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import EmbeddedServer, Store, dagster_url, ensure_databases, migrate, resolve_url
from crypto_pipeline.store.database.connect import check_direct_url, database_name
from crypto_pipeline.store.mirror.catalogue import set_in_use
from crypto_pipeline.venues import collected_venues


def database_urls(settings: Settings) -> tuple[str, str]:
    """URLs of our database and of Dagster's. Raises OpsError when a database that is not embedded does not answer."""
    if settings.database_url is not None:
        url = resolve_url(settings)
    else:
        server = EmbeddedServer(settings.data_dir)
        server.prepare()
        url = server.url()
    return url, dagster_url(settings, url)


def make_ready(
    settings: Settings,
    places: Places,
    url: str,
    environment: dict[str, str],
    say: Callable[[str], None],
    migrated: Callable[[], None],
) -> None:
    """Create both databases, migrate them where needed, and add the chosen instruments.

    ``migrated`` is called as soon as our database is usable: ingest does not wait for Dagster's.
    """
    if applied := migrate(url):
        say(f"schema: {len(applied)} migrations applied")
    check_direct_url(url)
    with Store(url) as store:
        replay_clock.tell(settings, places, store)
        store.connections.run(set_in_use, settings.mirror)
    migrated()
    ensure_databases(environment[DAGSTER_URL_VARIABLE], [database_name(environment[DAGSTER_URL_VARIABLE])])
    with Store(url) as store:
        store.storage.make_partitions_ahead(store.clock.now())
        store.storage.keep_statement_statistics()
        if added := begin_collecting(store, settings):
            venues = store.instruments.venues(settings.venue)
            named = [venue for venue in collected_venues(settings) if venue in venues]
            say(f"collecting {len(added)} instruments from {', '.join(named)}")
        if series := store.macro.choose(choose_series(settings.macro_series)):
            say(f"collecting macro series {', '.join(series)} from {settings.macro_source}")
        if settings.macro_series is None:  # what was said of series that are no longer collected concerns nobody
            store.checks.forget("macro_")
    if needs_migration(places):
        say("Dagster's own storage comes from another version: migrating it")
        _migrate_dagster(environment)
    note_version(places)


def _migrate_dagster(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "dagster", "instance", "migrate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise OpsError(f"cannot migrate Dagster's storage: {last[0]}")
