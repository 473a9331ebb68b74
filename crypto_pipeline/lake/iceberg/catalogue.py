"""The catalogue of Iceberg tables: pyiceberg's, on the project's own PostgreSQL, in the schema ``iceberg``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    RESTError,
    ValidationException,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from crypto_pipeline.lake.iceberg.table_names import NAMESPACES
from crypto_pipeline.store.archive.object_store import local_path
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.sessions.pooler import direct_url

#: Name of the catalogue, under which its tables stand in ``iceberg.iceberg_tables``.
CATALOGUE = "lake"
SCHEMA = "iceberg"
#: What pyiceberg calls the places and names that the environment has for obstore and Polars.
_FROM_ENVIRONMENT = {
    "s3.endpoint": "AWS_ENDPOINT_URL",
    "s3.region": "AWS_REGION",
    "s3.access-key-id": "AWS_ACCESS_KEY_ID",
    "s3.secret-access-key": "AWS_SECRET_ACCESS_KEY",
    "s3.session-token": "AWS_SESSION_TOKEN",
}


def catalogue_uri(url: str, *, with_password: bool = True) -> str:
    """The URI with which pyiceberg opens the catalogue in the database ``url``; else with *** for the password."""
    made = make_url(direct_url(url)).set(drivername="postgresql+psycopg")
    given = made.query.get("options", "")
    before = given if isinstance(given, str) else " ".join(given)
    made = made.update_query_dict({"options": f"{before} -csearch_path={SCHEMA}".strip()})
    return made.render_as_string(hide_password=not with_password)


def file_properties() -> dict[str, str]:
    """How pyiceberg reaches object stores: from the environment, as our own reads and writes do."""
    return {name: os.environ[variable] for name, variable in _FROM_ENVIRONMENT.items() if os.environ.get(variable)}


@contextmanager
def open_catalogue(url: str) -> Iterator[SqlCatalog]:
    """The catalogue in the database ``url`` for the block, with its namespaces.

    Failures of pyiceberg and of the database in the block are StoreErrors.
    """
    with _explained():
        catalogue = SqlCatalog(CATALOGUE, uri=catalogue_uri(url), init_catalog_tables="false", **file_properties())
        try:
            for namespace in NAMESPACES:
                if not catalogue.namespace_exists(namespace):
                    try:
                        catalogue.create_namespace(namespace)
                    except NamespaceAlreadyExistsError:
                        pass
            yield catalogue
        finally:
            catalogue.close()


def location(url: str) -> str:
    """A file's or folder's URL as Iceberg's readers write it: local paths as they are, without quoting.

    Raises StoreError for a path that these readers would cut off.
    """
    path = local_path(url)
    if path is None:
        return url
    if {"#", "?", "%"} & set(str(path)):
        raise StoreError(f"readers of Iceberg do not understand '#', '?' or '%' in a path: {path}")
    return f"file://{path}"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (CommitFailedException, NoSuchTableError, ValidationException, RESTError, SQLAlchemyError, OSError) as error:
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise StoreError(f"Iceberg tables: {said}") from error
