"""DAGSTER_HOME of a deployment: the shipped dagster.yaml, and a workspace file that names our code server."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import crypto_pipeline
from crypto_pipeline.ops.host.extras import require_celery
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.programs import CODE_SERVER, LOCATION

_WORKSPACE = """\
load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""


#: Where a checkout has the file that a wheel has beside the package's own.
_IN_CHECKOUT = {"dagster_celery.yaml": "deploy/celery/dagster.yaml"}


def shipped(name: str) -> Path:
    """Path of a file that is beside the package in a checkout and inside the package in a wheel."""
    package = Path(crypto_pipeline.__file__).parent
    inside = package / "ops" / name
    return inside if inside.exists() else package.parent / _IN_CHECKOUT.get(name, name)


def write_dagster_home(places: Places, *, handed_over: bool = False) -> None:
    """Write the files that Dagster's programs read. A dagster.yaml without our marker line is a person's own and
    kept.

    ``handed_over``: runs are handed to workers over Celery. Raises OpsError where its extra is absent.
    """
    if handed_over:
        require_celery()
    target = places.dagster_home / "dagster.yaml"
    text = shipped("dagster_celery.yaml" if handed_over else "dagster.yaml").read_text()
    if not target.exists() or target.read_text().startswith(text.partition("\n")[0]):
        target.write_text(text)
    places.workspace.write_text(_WORKSPACE.format(socket=_quote(str(places.socket(CODE_SERVER))), location=LOCATION))


def needs_migration(places: Places) -> bool:
    """Whether another version of Dagster used the storage last; a new storage needs no migration."""
    mark = _version_mark(places)
    return mark.exists() and mark.read_text().strip() != version("dagster")


def note_version(places: Places) -> None:
    """Write down the version of Dagster that uses the storage."""
    _version_mark(places).write_text(version("dagster"))


def _version_mark(places: Places) -> Path:
    return places.dagster_home / "storage-version"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
