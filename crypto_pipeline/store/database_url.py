"""Which database is ours: the one in the settings, else the embedded server's; and where Dagster keeps its own."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from crypto_pipeline.settings import Settings, command
from crypto_pipeline.store.database.connect import check_server, database_name, redact, with_database
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.embedded.server import DATABASE, EmbeddedServer

__all__ = ["dagster_url", "redact", "resolve_url"]


def resolve_url(settings: Settings) -> str:
    """The URL of the project's database: the one in the settings, else that of the running embedded server.

    Raises StoreError within about five seconds when nothing usable answers there. A database that does not exist yet
    on a good server is no error: ``migrate`` creates it.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        check_server(url)
        return url
    server = EmbeddedServer(settings.data_dir)
    if not server.is_alive():
        raise StoreError(
            f"no database is running in {settings.data_dir}: start `{command('up', '--data-dir', settings.data_dir)}`, "
            "or set CRYPTO_PIPELINE_DATABASE_URL"
        )
    return server.url()


def dagster_url(settings: Settings, url: str) -> str:
    """The URL of Dagster's own storage, with the driver spelled out because the bare scheme now means psycopg 3.

    Without ``dagster_database_url`` it lives on the same server as ``url``, in database ``dagster``; where our own
    database is not called by its usual name, in ``<name>_dagster``, so that two set-ups on one server stay apart.
    """
    if settings.dagster_database_url is not None:
        chosen = settings.dagster_database_url.get_secret_value()
    else:
        ours = database_name(url)
        chosen = with_database(url, "dagster" if ours == DATABASE else f"{ours}_dagster")
    return urlunsplit(urlsplit(chosen)._replace(scheme="postgresql+psycopg2"))
