"""URLs of the project's database (in the settings, or the embedded server) and of Dagster's storage."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from crypto_pipeline.settings import Settings, command
from crypto_pipeline.store.database.connect import check_server, database_name, redact, with_database
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.sessions.pooler import DatabaseUrl, direct_url
from crypto_pipeline.store.embedded.server import DATABASE, EmbeddedServer

__all__ = ["dagster_url", "redact", "resolve_url"]


def resolve_url(settings: Settings) -> str:
    """The URL of the project's database: the one in the settings, or that of the running embedded server.

    Raises StoreError within about five seconds if no supported server answers. A database that does not exist yet
    is not an error: ``migrate`` creates it. With ``database_direct_url`` it is a ``DatabaseUrl``.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        if settings.database_direct_url is not None:
            url = DatabaseUrl(url, settings.database_direct_url.get_secret_value())
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
    """The URL of Dagster's storage, with an explicit driver, because SQLAlchemy's plain scheme now means psycopg 3.

    Without ``dagster_database_url`` it is on the same server as ``url``, past its pooler, in the database ``dagster``.
    If our database does not have its usual name, it is ``<name>_dagster``, so that two deployments on one server do not
    share it.
    """
    if settings.dagster_database_url is not None:
        chosen = settings.dagster_database_url.get_secret_value()
    else:
        ours = database_name(direct_url(url))
        chosen = with_database(direct_url(url), "dagster" if ours == DATABASE else f"{ours}_dagster")
    return urlunsplit(urlsplit(chosen)._replace(scheme="postgresql+psycopg2"))
